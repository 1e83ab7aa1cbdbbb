"""What every checkpoint of a suite shares: speech, noises, mixtures and the run's config; opened before any model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.config import DataConfig
from data.opening import open_source

from ..config.evaluation import EvaluationConfig
from ..config.reading import ConfigError, load_config
from ..config.run import ModelConfig, RunConfig, TrainingConfig
from ..evaluation.checkpoint import chosen_split, open_split
from ..evaluation.normalizers import build_normalizer
from ..model.languages import check_spoken
from .checkpoints import NamedCheckpoint
from .conditions import MEANT_SPEAKER
from .config import NoiseSuiteConfig, load_suite, suite_of
from .mixing import Mixer
from .speech import HeldSource, Noises, Speech, check_columns, gather_speech, measured_ids, non_speech_source


@dataclass(frozen=True)
class Materials:
    """What all checkpoints share.

    Attributes:
        run: the config whose engine, language and evaluation are used where the suite sets nothing.
        non_speech: clips of noise alone; None if none are wanted.
        warnings: remarks on the mixtures that concern every figure.
        language: of utterances that carry none.
    """

    suite: NoiseSuiteConfig
    run: RunConfig
    evaluation: EvaluationConfig
    speech: Speech
    noises: Noises | None
    non_speech: HeldSource | None
    mixer: Mixer
    warnings: list[str]
    language: str | None


def as_suite(suite: NoiseSuiteConfig | Mapping[str, Any] | str | Path) -> NoiseSuiteConfig:
    """A suite from a config, its values or its file."""
    if isinstance(suite, NoiseSuiteConfig):
        return suite
    return suite_of(dict(suite)) if isinstance(suite, Mapping) else load_suite(suite)


def gather(
    suite: NoiseSuiteConfig, named: Sequence[NamedCheckpoint], config: RunConfig | str | Path | None, split: str | None
) -> Materials:
    """Open everything but the models.

    Raises:
        ConfigError, DataError: if something is missing, or speech and suite do not fit each other.
    """
    check_spoken({"language": suite.language})
    run = run_config(suite, named, config)
    if suite.speech is not None:
        source = open_source(suite.speech, "speech")
        source.check_columns()
    else:
        source = open_split(run, chosen_split(run, split))
    evaluation = suite.evaluation(run.evaluation)
    language = suite.language or source.config.language or run.data.language
    build_normalizer(evaluation.normalizer, language)
    check_columns(source, evaluation.columns, evaluation.cluster)
    noises = open_noises(suite)
    speech = gather_speech(source, suite, evaluation.cluster)
    alone = None
    if suite.non_speech is not None:
        assert noises is not None  # the config checks it
        alone = non_speech_source(noises, suite.non_speech, suite.seed)
    mixer = Mixer(
        suite.seed,
        noises,
        speech.talkers,
        speech.speakers,
        suite.babble_speakers,
        clips=speech.clips,
        leak_room=suite.leak_room,
    )
    return Materials(
        suite,
        run,
        evaluation,
        speech,
        noises,
        non_speech=alone,
        mixer=mixer,
        warnings=own_voices(mixer, suite, speech) if evaluation.cluster else [],
        language=language,
    )


def own_voices(mixer: Mixer, suite: NoiseSuiteConfig, speech: Speech) -> list[str]:
    """Warnings for kinds in which speakers may be mixed with their own other utterances, or have no other one."""
    warnings = []
    names = measured_ids(speech)
    for kind in suite.voice_kinds:
        alone = sum(mixer.lacks_strangers(name, kind) for name in names)
        if alone:
            warnings.append(
                f"{kind}: too few other speakers for {alone} of {len(names)} utterances, which the speaker's own "
                "other utterances may be laid over"
            )
    if suite.meant_speaker and speech.clips is not None:
        without = sum(speech.clips.lacks(speech.speakers.get(name, ""), name) for name in names)
        if without:
            warnings.append(
                f"{MEANT_SPEAKER}: {without} of {len(names)} utterances are measured without a clip of the speaker, of "
                "whom there is no other utterance"
            )
    return warnings


def run_config(
    suite: NoiseSuiteConfig, named: Sequence[NamedCheckpoint], given: RunConfig | str | Path | None
) -> RunConfig:
    """The config that was given, or a checkpoint's run's; made up if there is none and the suite names its speech."""
    path = next(filter(None, (checkpoint.run_config for checkpoint in named)), None) if given is None else None
    if isinstance(given, RunConfig):
        run = given
    elif given is not None or path is not None:
        run = load_config(given or path or "")
    elif suite.speech is None:
        raise ConfigError("speech is missing, and so is --config, and no checkpoint lies in a run's folder")
    else:
        run = RunConfig(
            output_dir="",
            model=ModelConfig(checkpoint=named[0].path),
            data=DataConfig(train=suite.speech, language=suite.language),
            training=TrainingConfig(steps=1),
        )
    if run.engine.zero_stage:  # nothing is trained: one copy a process is simplest
        engine = run.engine.model_copy(update={"zero_stage": 0, "cpu_offload": "none"})
        run = run.model_copy(update={"engine": engine})
    return run


def open_noises(suite: NoiseSuiteConfig) -> Noises | None:
    """The suite's noises; None if it names none. Raises: DataError: if there are no recordings."""
    if suite.noise is None:
        return None
    if isinstance(suite.noise, str):
        from data.augmentation.synthetic_noise import SyntheticNoises

        return SyntheticNoises(suite.seed)
    from data.augmentation.noise_clips import NoiseClips

    return NoiseClips(suite.noise, "noise")
