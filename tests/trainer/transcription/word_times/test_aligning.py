"""Alignment heads are found on joined clips, and written where transcribing and transformers look for them."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import GenerationConfig

import launch.align
from data.audio.cutting import speech_region
from data.errors import DataError
from modeling.alignment.heads import all_heads
from tests.end_to_end import run
from tests.modeling.alignment.test_word_times import Fixed
from tests.support.films import noise
from tests.support.untrained import save_checkpoint
from trainer.transcription.hearing import Listener
from trainer.transcription.word_times.aligning import find_heads
from trainer.transcription.word_times.aligning_command import joined_clips
from trainer.transcription.word_times.joining import join

pytestmark = pytest.mark.usefixtures("exact_attention")

BEST = (0, 1)


def clip(seconds: float, text: str = "a") -> tuple[str, np.ndarray]:
    return text, noise(seconds)[: round(seconds * 16_000)]


def test_clips_are_joined_where_they_say_they_are() -> None:
    joined = join([clip(0.4, "a"), clip(0.6, "b"), clip(0.2, "c")], random.Random(0), "az")
    assert joined.texts == ("a", "b", "c")
    assert [end - begin for begin, end in joined.bounds] == pytest.approx([0.4, 0.6, 0.2], abs=0.02)
    pauses = [after[0] - before[1] for before, after in zip(joined.bounds, joined.bounds[1:], strict=False)]
    assert all(0.05 <= pause <= 1.0 for pause in pauses)
    for begin, end in joined.bounds:
        margin = 0.03
        part = joined.audio[round((begin - margin) * 16_000) : round((end + margin) * 16_000)]
        first, last = (sample / 16_000 for sample in speech_region(part))
        assert first == pytest.approx(margin, abs=0.021)
        assert last == pytest.approx(end - begin + margin, abs=0.021)


def test_clips_are_joined_with_those_of_their_language_and_no_longer_than_the_longest() -> None:
    clips = [(*clip(0.5, f"{language}{number}"), language) for number in range(9) for language in ("az", "tr")]
    joined = joined_clips([*clips, (*clip(2.0, "long"), "az")], 100)
    assert len(joined) >= 4
    for one in joined:
        assert 2 <= len(one.texts) <= 4
        assert {text[:2] for text in one.texts} == {one.language}
    assert len(joined_clips([*clips, (*clip(2.0), "az")], 2)) == 2
    assert joined_clips([(*clip(2.0), "az")] * 5, 9) == []


@pytest.fixture
def listener(tmp_path: Path) -> Listener:
    return Listener(str(save_checkpoint(tmp_path / "tiny", positions=40)), "az", words=True)


def broken(generator: random.Random, text: str) -> tuple[str, np.ndarray]:
    """A clip with a pause within it, so that levels alone do not tell where it ends."""
    lengths = [generator.uniform(0.2, 0.5), generator.uniform(0.1, 0.4), generator.uniform(0.2, 0.5)]
    first, pause, last = (clip(seconds)[1] for seconds in lengths)
    return text, np.concatenate((first, 0 * pause, last))


def test_the_head_that_looks_at_what_is_said_is_found(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(0)
    recordings = [join([broken(generator, text) for text in "abcd"], generator, "az") for _ in range(15)]
    layer, head = BEST
    attention = listener.model.get_decoder().layers[layer].encoder_attn
    encode, prompt = listener.encode, len(listener.labels.prompt("az"))
    asked = torch.zeros(40, 32)
    for word in range(4):  # a space and a letter each
        for token in (2 * word, 2 * word + 1):
            asked[prompt - 1 + token, 16 * head + word] = 60
            asked[prompt - 1 + token, 16 * (1 - head) + 2] = 60  # the layer's other head: at one word only
    attention.q_proj = Fixed(asked)

    def encode_and_show(pieces: Any, *more: Any) -> Any:
        found = encode(pieces, *more)
        (joined,) = [one for one in recordings if one.audio is pieces[0]]
        states = torch.zeros_like(found.states.last_hidden_state)
        for word, (begin, end) in enumerate(joined.bounds):
            states[:, round(begin * 50) : round(end * 50), [16 * head + word, 16 * (1 - head) + word]] = 1
        found.states.last_hidden_state = states
        return found

    monkeypatch.setattr(listener, "encode", encode_and_show)
    attention.k_proj = torch.nn.Identity()
    found = find_heads(listener, recordings)
    assert found.is_better
    assert found.heads[0] == BEST
    assert found.after.median <= 0.02
    assert found.after.median <= found.before.median
    assert found.recordings == 15
    assert found.before.boundaries == found.after.boundaries == 3 * 8


def test_too_few_recordings_are_refused(listener: Listener) -> None:
    with pytest.raises(DataError, match=r"^the clips make 3 recordings whose texts fit the decoder; 8 are needed$"):
        find_heads(listener, [join([clip(0.3), clip(0.3)], random.Random(0), "az")] * 3)


@pytest.mark.slow
def test_the_command_writes_heads_that_are_better(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    """An untrained model's heads are chance; whichever are written, transformers reads them."""
    checkpoint = save_checkpoint(tmp_path / "tiny", positions=60)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    before = (checkpoint / "generation_config.json").read_text()
    outcome = run(launch.align.main, "--checkpoint", checkpoint, "--split", "train", "--dry-run")
    assert outcome.code == 0, outcome
    assert (checkpoint / "generation_config.json").read_text() == before
    outcome = run(launch.align.main, "--checkpoint", checkpoint, "--split", "train")
    assert outcome.code == 0, outcome
    if "heads found" in outcome.output:
        written = GenerationConfig.from_pretrained(checkpoint)
        assert {tuple(head) for head in written.alignment_heads} <= set(
            all_heads(Listener(str(checkpoint), "az").model.config)
        )
        assert json.loads((checkpoint / "generation_config.json").read_text())["alignment_heads_measured"]["before"]
    shutil.rmtree(checkpoint)


def test_heads_are_not_written_into_a_hub_name() -> None:
    outcome = run(launch.align.main, "--checkpoint", "openai/whisper-base", "--config", "nowhere.yaml")
    assert outcome.code == 2
    assert "--dry-run" in outcome.errors
