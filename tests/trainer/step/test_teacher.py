"""The clean teacher: what it hears, who learns, the mean over frames, its cache, and what does not go with it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from accelerate import Accelerator
from torch.nn.functional import layer_norm

from data.batches.features import visible_frames
from data.batches.loader import BatchGroup
from data.utterance import AudioBatch
from modeling.network.losses import CleanStates
from trainer.config.reading import ConfigError, load_config
from trainer.memory.advice import candidates, changed
from trainer.memory.cells import cell_of
from trainer.memory.decoding_peak import evaluation_bytes
from trainer.memory.prediction import StepMemory
from trainer.memory.trial import failure_of
from trainer.model.building import build_model
from trainer.plan import make_plan, plan_rows
from trainer.run import train
from trainer.step.agreement import Targets
from trainer.step.attention_watch import AttentionWatch
from trainer.step.loss import TrainingLoss
from trainer.step.splitting import split_group
from trainer.step.teacher import CleanTeacher, open_teacher

SHORT = ("data.validation=null", "logging.every_steps=1", "optimizer.schedule=constant", "optimizer.warmup_steps=0")
TEACHER = ("noise.teacher.weight=0.5",)


@pytest.fixture
def start(tiny_config: Path, tmp_path: Path) -> Path:
    """A config that goes on from a small checkpoint, with noise over most of the clips."""
    model, processor = build_model(load_config(tiny_config))
    for part in (model, processor):
        part.save_pretrained(tmp_path / "base")
    (tmp_path / "noises").mkdir()
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    soundfile.write(tmp_path / "noises" / "white.wav", noise, 16_000)
    values = yaml.safe_load(tiny_config.read_text())
    values["model"] = {"checkpoint": str(tmp_path / "base")}
    values["data"]["augmentation"] = {
        "noise": {"folder": str(tmp_path / "noises")},
        "noise_share": 0.7,
        "noise_ratio": [-5, 10],
    }
    values["data"]["train"]["max_utterances"] = 8
    tiny_config.write_text(yaml.safe_dump(values))
    return tiny_config


def run(start: Path, folder: Path, *more: str, resume: bool = False) -> list[dict[str, Any]]:
    """Lines of training."""
    train(
        load_config(start, [*SHORT, "training.steps=5", "training.batch_size=2", f"output_dir={folder}", *more]),
        resume=resume,
    )
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == "train"]


def figures(rows: list[dict[str, Any]], *names: str) -> list[float]:
    return [row[name] for row in rows for name in names or ("loss", "teacher_loss")]


def batch(noisy: list[bool], seconds: float = 1.0) -> AudioBatch:
    """Clips of noise, some of them with other noise over it."""
    generator = torch.Generator().manual_seed(0)
    rows, samples = len(noisy), round(16_000 * seconds)
    speech = 0.1 * torch.randn(rows, samples, generator=generator)
    noise = 0.1 * torch.randn(rows, samples, generator=generator) * torch.tensor(noisy)[:, None]
    lengths = torch.full((rows,), samples)
    lengths[0] = samples // 2
    inside = torch.arange(samples) < lengths[:, None]
    ids = torch.full((rows, 4), 3)
    return AudioBatch(
        audio=(speech + noise) * inside,
        audio_lengths=lengths,
        noise=noise * inside,
        decoder_input_ids=ids,
        labels=ids,
        ids=[str(row) for row in range(rows)],
        texts=[""] * rows,
        languages=[None] * rows,
    )


def loss_of(config: Any, model: Any, weight: float | None = None) -> tuple[TrainingLoss, AttentionWatch]:
    accelerator = Accelerator(cpu=True)
    watch = AttentionWatch(accelerator, model)
    return TrainingLoss(config, accelerator, model, watch, open_teacher(config, accelerator, model)), watch


def targets_of(*batches: AudioBatch) -> Targets:
    group = BatchGroup(list(batches), exhausted=False)
    return Targets(group.target_tokens, group.noisy_tokens, group.noisy_frames)


@pytest.mark.parametrize("padding", ["clip", "window"])
@pytest.mark.parametrize("layers", ["null", "[1,2]"])
def test_the_loss_is_of_the_noisy_clips_own_frames(start: Path, padding: str, layers: str) -> None:
    more = (f"model.encoder_padding={padding}", f"noise.teacher.layers={layers}")
    config = load_config(start, [*TEACHER, *more])
    model = build_model(config)[0].train()
    loss, watch = loss_of(config, model)
    audio = batch([True, False, True])
    loss(audio, targets_of(audio), 1)
    found = watch.read_losses(0.0, 1)["teacher_loss"]

    from data.batches.features import LogMel

    sums = frames = 0.0
    for row in (0, 2):  # each alone, by hand
        states = []
        clip = slice(0, int(audio.audio_lengths[row]))
        for samples in (audio.audio[row, clip], (audio.audio - audio.noise)[row, clip]):
            seen = visible_frames(len(samples))
            features = LogMel(80)(samples[None], 3000 if padding == "window" else seen + 4)
            given = [seen] if padding == "clip" else None
            with torch.no_grad():
                output = model.model.encoder(features, feature_lengths=given, output_hidden_states=True)
            wanted = [output.hidden_states[1], output.last_hidden_state] if layers != "null" else [output[0]]
            states.append([layer_norm(one[0, : seen // 2], (32,)) for one in wanted])
        pairs = list(zip(*states, strict=True))
        sums += sum(float((ours - theirs).square().mean(1).sum()) for ours, theirs in pairs) / len(pairs)
        frames += seen // 2
    assert found == pytest.approx(sums / frames, rel=1e-4)
    assert 0 < found < 4


def test_nothing_is_to_be_learned_without_noise_and_clean_clips_do_not_count(start: Path) -> None:
    config = load_config(start, [*TEACHER])
    model = build_model(config)[0].train()
    loss, watch = loss_of(config, model)
    audio = batch([True, True])
    whispered = replace(audio, noise=audio.noise * 1e-9)  # there, but next to nothing
    loss(whispered, targets_of(whispered), 1)
    assert watch.read_losses(0.0, 1)["teacher_loss"] < 1e-6
    clean = batch([False, False])
    with_teacher = loss(clean, targets_of(clean), 1)
    assert watch.read_losses(0.0, 1) == {}
    without = load_config(start)
    plain = loss_of(without, model)[0](clean, targets_of(clean), 1)
    assert float(with_teacher) == float(plain)


def test_only_the_student_learns(start: Path) -> None:
    config = load_config(start, ["noise.teacher.weight=1", "training.steps=5"])
    model = build_model(config)[0].train()
    loss, _ = loss_of(config, model)
    assert loss.teacher is not None
    taught = loss.teacher.states.encoder
    own = {id(parameter) for parameter in model.parameters()}
    assert not any(id(parameter) in own or parameter.requires_grad for parameter in taught.parameters())
    before = [parameter.clone() for parameter in taught.parameters()]
    audio = batch([True, True])
    labels = torch.full_like(audio.labels, -100)
    unsaid = replace(audio, labels=labels)  # the token loss says nothing then
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.01)
    seen = []
    for step in (1, 2, 3):
        value = loss(unsaid, Targets(1, 0, targets_of(audio).noisy_frames), step)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        seen.append(float(value))
    assert seen[0] > seen[1] > seen[2]
    assert all(torch.equal(old, new) for old, new in zip(before, taught.parameters(), strict=True))
    assert not any(module.training for module in taught.modules())
    grown = [name for name, one in model.named_parameters() if one.grad is not None and bool(one.grad.any())]
    assert grown and all(".encoder." in name for name in grown)


def test_the_weight_warms_up(start: Path) -> None:
    config = load_config(start, ["noise.teacher.weight=0.6", "noise.teacher.warmup_steps=3"])
    loss, _ = loss_of(config, build_model(config)[0])
    assert loss.teacher is not None
    weights = [loss.teacher.arguments(batch([True]), step, 2.0)["clean_weight"] for step in (1, 2, 3, 9)]
    assert weights == pytest.approx([0.1, 0.2, 0.3, 0.3])


def test_microbatches_together_are_the_step(start: Path) -> None:
    """The mean over the frames of all of them, not the mean of their means."""
    config = load_config(start, ["noise.teacher.weight=2"])
    model = build_model(config)[0].eval()
    whole = batch([True, True, False, True])
    group = BatchGroup([whole], exhausted=False)
    parts = split_group(group, 2)
    assert parts.noisy_frames == group.noisy_frames
    loss, _ = loss_of(config, model)
    targets = Targets(1, 0, targets_of(whole).noisy_frames)

    def taught(audio: AudioBatch) -> float:
        """The teacher's loss alone: nothing is said."""
        return float(loss(replace(audio, labels=torch.full_like(audio.labels, -100)), targets, 9).detach())

    at_once = taught(whole)
    loss.parts = 2
    halves = [taught(part) / 2 for part in parts.batches if part is not None]
    assert at_once > 0
    assert sum(halves) == pytest.approx(at_once, rel=1e-3)


def test_a_rank_without_noise_has_a_gradient_of_zeros(start: Path) -> None:
    """Under ZeRO-3 its encoder must be gone through as the others' are."""
    hidden = [torch.randn(2, 5, 8, requires_grad=True) for _ in range(3)]
    none = torch.empty(0, dtype=torch.int64)
    states = CleanStates([torch.zeros(0, 1, 8)] * 2, (1, 2), none, none)
    loss = states.distance_sum(hidden)
    loss.backward()
    assert float(loss) == 0.0
    assert hidden[0].grad is None and not any(bool(one.grad.any()) for one in hidden[1:])  # type: ignore[union-attr]


def test_what_is_cached_is_what_is_computed(start: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    without = run(start, tmp_path / "without", *TEACHER)
    cache = f"noise.teacher.cache={tmp_path / 'cache'}"
    first = run(start, tmp_path / "first", *TEACHER, cache)
    again = run(start, tmp_path / "again", *TEACHER, cache)
    assert figures(first) == pytest.approx(figures(without), rel=1e-5)
    assert figures(again) == pytest.approx(figures(without), rel=1e-5)
    entries = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert 0 < len(entries) <= 8, "one for each recording, whatever the noise"
    said = " ".join(capsys.readouterr().out.split())
    assert "noise.teacher.cache: 0 of" not in said.rpartition("noise.teacher.cache")[1]
    assert f"{(tmp_path / 'cache').name}" in said
    other = run(start, tmp_path / "other", *TEACHER, cache, "noise.teacher.layers=[1]")
    assert figures(other, "teacher_loss") != figures(again, "teacher_loss")
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize("more", [(), ("noise.teacher.cache=cache",), ("data.augmentation.speed=[0.9,1.1]",)])
def test_a_resumed_run_is_the_uninterrupted_one(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    """The teacher is the model before training also then, and twice."""
    monkeypatch.chdir(tmp_path)
    whole = run(start, tmp_path / "whole", *TEACHER, *more)
    for steps in (2, 4):
        run(start, tmp_path / "parts", *TEACHER, *more, f"training.steps={steps}", resume=steps > 2)
    parts = run(start, tmp_path / "parts", *TEACHER, *more, resume=True)
    assert figures(parts) == figures(whole)
    assert all(row["loss"] == pytest.approx(row["token_loss"] + 0.5 * row["teacher_loss"]) for row in whole)


def test_another_checkpoint_teaches(start: Path, tmp_path: Path) -> None:
    run(start, tmp_path / "trained")
    theirs = run(start, tmp_path / "theirs", *TEACHER, f"noise.teacher.checkpoint={tmp_path / 'trained' / 'final'}")
    assert theirs[0]["teacher_loss"] != run(start, tmp_path / "own", *TEACHER)[0]["teacher_loss"]


def test_adapters_learn_from_it(start: Path, tmp_path: Path) -> None:
    rows = run(start, tmp_path / "lora", *TEACHER, "model.strategy=lora")
    assert all(row["teacher_loss"] > 0 for row in rows)


def test_memory_counts_it(start: Path) -> None:
    plain, taught = load_config(start), load_config(start, [*TEACHER])
    encoder = sum(one.numel() for one in build_model(plain)[0].model.encoder.parameters())
    for precision, least in (("fp32", 4.0), ("bf16", 2.0)):
        cells = [cell_of(config, precision=precision, seconds=5.0, tokens=40) for config in (plain, taught)]
        less, more = (StepMemory(cell, on_gpu=False).at(4) for cell in cells)
        assert least * encoder <= more.parts["teacher"] <= 4 * encoder
        assert (more.parts["teacher"] < 4 * encoder) == (precision == "bf16")
        assert more.peak_bytes > less.peak_bytes + more.parts["teacher"]
    decoding = [evaluation_bytes(cell, on_gpu=False, frames=500) for cell in cells]
    assert decoding[1] - decoding[0] == more.parts["teacher"]


def test_a_try_of_a_batch_has_a_teacher_and_opens_no_checkpoint_for_it(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(start, [*TEACHER, f"noise.teacher.checkpoint={tmp_path / 'base'}", "data.max_seconds=1"])
    model, taught = build_model(config)[0], []
    monkeypatch.setattr("trainer.model.teacher.open_model", None)
    model.register_forward_pre_hook(lambda *given: taught.append(given[2]["clean_states"]), with_kwargs=True)
    assert failure_of(config, Accelerator(cpu=True), model, 2) is None
    assert len(taught) == 1 and taught[0].states[0].shape[0] == 2


def test_settings_that_need_less_memory_go_without_it_where_the_encoder_is_frozen(start: Path) -> None:
    cell = cell_of(load_config(start, [*TEACHER, "model.strategy=full"]), precision="fp32")
    found = [changed(cell, settings).config for settings in candidates(cell)]
    assert {config.model.strategy: config.noise.teacher is not None for config in found} == {
        "full": True,
        "frozen_encoder": False,
        "lora": True,
    }


def test_a_plan_tells_of_it(start: Path) -> None:
    config = load_config(start, [*TEACHER, "noise.teacher.layers=[1,2]"])
    assert ("clean teacher", "the model before training: encoder layers 1, 2, weight 0.5") in plan_rows(
        config, make_plan(config)
    )


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("noise.teacher.weight=0",), "noise.teacher.weight"),
        (("data.augmentation=null",), "nothing adds noise"),
        (("data.augmentation.silence_is_noise=true",), "silence_is_noise"),
        (("data.augmentation.codec_share=0.1",), "codec_share"),
        (("model.strategy=frozen_encoder",), "'frozen_encoder' leaves the encoder"),
        (("model.strategy=lora", "model.lora.where=[decoder]"), "'lora' leaves the encoder"),
        (("noise.teacher.cache=here", "data.augmentation.speed=[0.9,1.1]"), "noise.teacher.cache"),
        (("noise.teacher.cache=here", "data.windows={}"), "data.windows puts clips together"),
        (("noise.teacher.cache_gib=3",), "cache_gib"),
        (("noise.teacher.warmup_steps=12",), "noise.teacher.warmup_steps"),
    ],
)
def test_what_does_not_go_with_it_is_refused(start: Path, overrides: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(start, [*TEACHER, *overrides])


def test_a_new_model_has_nothing_to_teach(start: Path) -> None:
    shape = "{d_model: 32, encoder_layers: 2, decoder_layers: 2, attention_heads: 2}"
    with pytest.raises(ConfigError, match="a model from nothing"):
        load_config(start, [*TEACHER, "model.checkpoint=null", f"model.architecture={shape}"])


@pytest.mark.parametrize("prepares", [train, make_plan])
def test_layers_that_do_not_learn_are_refused(start: Path, prepares: Any) -> None:
    top = ("model.strategy=selective", "model.selective={encoder_layers: 1, decoder_layers: 1}")
    with pytest.raises(
        ConfigError, match=r"noise\.teacher\.layers holds 1, and nothing up to that encoder layer is train"
    ):
        prepares(load_config(start, [*TEACHER, *top, "noise.teacher.layers=[1,2]"]))


@pytest.mark.parametrize("prepares", [train, make_plan])
def test_a_teacher_of_another_shape_is_refused(start: Path, tmp_path: Path, prepares: Any) -> None:
    with pytest.raises(ConfigError, match=r"noise\.teacher\.layers holds 3; the encoder has layers 1 to 2"):
        prepares(load_config(start, [*TEACHER, "noise.teacher.layers=[3]"]))
    with pytest.raises(ConfigError, match=r"'openai/whisper-tiny', whose d_model is 384; the model's is 32"):
        prepares(load_config(start, [*TEACHER, "noise.teacher.checkpoint=openai/whisper-tiny"]))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_what_it_hears_is_the_recording_where_noise_alone_is_added(start: Path) -> None:
    config = load_config(start, [*TEACHER])
    model = build_model(config)[0]
    teacher = open_teacher(config, Accelerator(cpu=True), model)
    assert isinstance(teacher, CleanTeacher)
    audio = batch([True, True])
    recording = 2 * (audio.audio - audio.noise)  # before the mixture made it quieter
    usual, (heard,) = teacher.of(audio)[0], teacher.of(replace(audio, clean=recording))
    again = replace(audio, audio=recording + audio.noise)
    torch.testing.assert_close(heard, teacher.of(again)[0], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(heard, usual, atol=1e-4)
