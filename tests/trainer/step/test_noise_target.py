"""Noise in training: its target by energy, the loss's weight, two stages, and what is watched of second attentions."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from data.batches.labels import IGNORED
from data.utterance import AudioBatch
from modeling.network.decoder import DualDecoderOutput
from trainer.config.noise import NoiseConfig
from trainer.config.reading import ConfigError, load_config
from trainer.config.run import RunConfig
from trainer.engine.accelerator import build_accelerator
from trainer.model.building import build_model
from trainer.run import train
from trainer.step.attention_watch import STEPS_TO_DIFFER, AttentionWatch
from trainer.step.batch import Batch, to_batch
from trainer.step.noise_target import noise_arguments, noise_target


@pytest.fixture
def noises(tmp_path: Path) -> Path:
    folder = tmp_path / "noises"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", 0.1 * generator.standard_normal(16_000), 16_000)
    return folder


def noisy(noises: Path) -> list[str]:
    return [
        f"data.augmentation.noise.folder={noises}",
        "data.augmentation.noise_share=0.8",
        "data.augmentation.noise_ratio=[-5, 10]",
    ]


def rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row for row in lines if row["kind"] == kind]


def test_the_target_is_the_share_of_energy() -> None:
    samples = 320 * 6
    speech, noise = torch.zeros(2, samples), torch.zeros(2, samples)
    speech[0, 160:480] = 0.3  # frame 1, which is the 20 ms around sample 320
    noise[0, 160:800] = 0.1  # frames 1 and 2
    noise[1] = 0.2
    target = noise_target(speech + noise, noise, 8)
    assert target.shape == (2, 8)
    assert target[0].tolist() == pytest.approx([0, 0.01 / (0.01 + 0.09), 1, 0, 0, 0, 0, 0], abs=1e-5)
    assert target[1].tolist() == pytest.approx([1] * 7 + [0])
    assert noise_target(speech[:1], torch.zeros(1, samples), 3).tolist() == [[0, 0, 0]]


def test_a_target_within_speech_is_0_in_pauses() -> None:
    speech, noise = torch.zeros(2, 1600), torch.full((2, 1600), 0.1)
    speech[0, 640:1600] = 0.5  # frames 2 to 4; frame 2 begins half a frame earlier
    speech[1, 640:960] = 0.005  # 40 dB below the clip's loudest
    speech[1, 1120:] = 0.5
    everywhere = noise_target(speech + noise, noise, 5)
    inside = noise_target(speech + noise, noise, 5, only_in_speech=True)
    assert everywhere[0, :2].tolist() == [1, 1] and (inside[0, :2] == 0).all() and (inside[1, :3] == 0).all()
    assert torch.equal(inside[0, 2:], everywhere[0, 2:]) and torch.equal(inside[1, 4], everywhere[1, 4])
    silent = torch.zeros(1, 1600)
    assert noise_target(silent, silent, 5, only_in_speech=True).tolist() == [[0] * 5]


def test_the_weight_warms_up_and_is_of_noisy_targets() -> None:
    config = NoiseConfig(loss_weight=0.2, loss_warmup_steps=10, loss_layers=(1,))
    labels = torch.tensor([[IGNORED, 5, 6], [IGNORED, 7, IGNORED]])
    noise = torch.zeros(2, 1600)
    noise[1, 100] = 0.1
    lengths = torch.tensor([1600, 1600])
    audio = AudioBatch(
        torch.zeros(2, 1600), lengths, noise, labels.clamp(min=0), labels, ["a", "b"], ["", ""], [None] * 2
    )
    assert audio.noisy_targets.tolist() == [4]

    def log_mel(samples: torch.Tensor, frames: int) -> torch.Tensor:
        return torch.zeros(len(samples), 80, frames)

    batch = to_batch(audio, log_mel, "clip", torch.device("cpu"))  # type: ignore[arg-type]
    assert batch.noise_target.shape == (2, 30)  # 10 frames of sound and 50 of margin, two to an encoder frame
    known = (batch.noise_target, batch.noise_positions)
    half = noise_arguments(config, *known, 5, 4.0)
    assert half["noise_weight"] == pytest.approx(0.2 * 0.5 / 4)
    assert noise_arguments(config, *known, 20, 4.0)["noise_weight"] == pytest.approx(0.2 / 4)
    assert noise_arguments(config, *known, 20, 0.0)["noise_weight"] == pytest.approx(0.2)
    assert noise_arguments(config, *known, 20, 0.1)["noise_weight"] == pytest.approx(2)  # 10 tokens on 100 ranks
    assert half["noise_layers"] == (1,) and half["noise_positions"].tolist() == [4]
    assert to_batch(audio, log_mel, "window", torch.device("cpu")).noise_target.shape == (2, 1500)  # type: ignore[arg-type]
    hiss = torch.full((2, 1600), 0.1)
    said = replace(audio, audio=hiss.index_fill(1, torch.arange(640, 960), 0.6), noise=hiss)
    everywhere, in_speech = (
        to_batch(said, log_mel, "clip", torch.device("cpu"), noise_in_speech=only).noise_target[0]  # type: ignore[arg-type,index]
        for only in (False, True)
    )
    assert everywhere[:5].all() and in_speech.nonzero().flatten().tolist() == [2, 3]


def test_training_counts_noise_where_it_is_told_to(tiny_config: Path, tmp_path: Path, noises: Path) -> None:
    """Within speech there is less of it, so the first step's noise loss is larger."""
    losses = []
    for frames in ("all", "speech"):
        folder = tmp_path / frames
        more = ["noise.loss_weight=1", f"noise.loss_frames={frames}", "training.steps=4", f"output_dir={folder}"]
        train(load_config(tiny_config, [*noisy(noises), *more]))
        losses.append(rows(folder, "train")[0]["noise_loss"])
    assert losses[1] > 1.05 * losses[0]


def test_training_looks_at_noise(tiny_config: Path, tmp_path: Path, noises: Path) -> None:
    """With a large weight the second attention turns to noise; without one it does not."""
    always = [*noisy(noises), "training.steps=30", "evaluation.every_steps=100", "checkpoints.every_steps=100"]
    shares = {}
    for weight in (0.0, 3.0):
        folder = tmp_path / f"weight_{weight}"
        train(load_config(tiny_config, [*always, f"noise.loss_weight={weight}", f"output_dir={folder}"]))
        figures = rows(folder, "attention")
        assert len(figures) == 30
        assert len(figures[0]["gate_mean"]) == len(figures[0]["distance"]) == 2
        shares[weight] = np.mean([row["noise_share"] for row in figures[-8:] if "noise_share" in row])
        events = list((folder / "tensorboard").iterdir())
        assert b"attention_gate_mean/layer_01" in events[0].read_bytes()
    assert shares[3.0] > shares[0.0] + 0.1


def test_in_the_first_stage_whisper_itself_stands_still(tiny_config: Path, tmp_path: Path) -> None:
    """And a run resumed within it does the same."""
    base = ["evaluation.every_steps=100", "optimizer.weight_decay=0.01", "optimizer.warmup_steps=0"]
    train(load_config(tiny_config, [*base, "training.steps=1", f"output_dir={tmp_path / 'start'}"]))
    begin = [
        *base,
        "model.architecture=null",
        f"model.checkpoint={tmp_path / 'start' / 'final'}",
        "optimizer.primary_frozen_steps=4",
    ]
    config = load_config(tiny_config, [*begin, "training.steps=6", f"output_dir={tmp_path / 'run'}"])
    train(load_config(tiny_config, [*begin, "training.steps=4", f"output_dir={tmp_path / 'run'}"]))
    before, staged = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("start", "run"))
    new = set(build_model(config)[0].new_modules())
    changed = {name for name, tensor in staged.items() if not torch.equal(tensor, before[name])}
    assert changed and changed <= new
    train(config, resume=True)
    after = load_file(tmp_path / "run" / "final" / "model.safetensors")
    assert any(not torch.equal(after[name], staged[name]) for name in after if name not in new)
    assert [row["learning_rate"] > 0 for row in rows(tmp_path / "run", "train")] == [False] * 4 + [True] * 2


class Said:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.figures: list[dict[str, list[float]]] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def write(self, step: int, kind: str, values: dict[str, list[float]]) -> None:
        self.figures.append(values)


def test_a_copy_is_told_of_once_in_plain_words(tiny_config: Path) -> None:
    config = load_config(tiny_config)
    model, _ = build_model(config)
    model.start_as_whisper()
    watch, said = AttentionWatch(build_accelerator(config), model), Said()
    for step in (1, STEPS_TO_DIFFER, STEPS_TO_DIFFER + 1):
        watch.report(said, step)  # type: ignore[arg-type]
    assert said.figures[0]["distance"] == [0.0, 0.0]
    assert len(said.lines) == 1 and "still copies of the first" in said.lines[0]
    with torch.no_grad():
        model.model.decoder.layers[1].secondary_attn.v_proj.weight.mul_(2)
    other = AttentionWatch(build_accelerator(config), model)
    other.report(said, STEPS_TO_DIFFER)  # type: ignore[arg-type]
    assert said.figures[-1]["distance"][0] == 0 and said.figures[-1]["distance"][1] > 0.1
    assert len(said.lines) == 1


@pytest.mark.parametrize("kind", ["attention", "joined"])
def test_copies_that_read_a_second_recording_are_no_fault_but_its_absence_is(tiny_config: Path, kind: str) -> None:
    dual = kind == "attention"
    more = [f"model.second_recording={kind}", f"model.dual_attention={str(dual).lower()}", "data.train.second=copy"]
    config = load_config(tiny_config, more if dual else [*more, "optimizer.new_modules_learning_rate=null"])
    model, _ = build_model(config)
    if dual:
        model.start_as_whisper()
    gates = (torch.full((4, 3), 0.5),) * 2 if dual else None

    def reported(second_rows: list[int], *, steps: int = 30) -> Said:
        watch, said = AttentionWatch(build_accelerator(config), model), Said()
        for step in range(1, steps + 1):
            batch = Batch(
                features=torch.zeros(4 + len(second_rows), 80, 4),
                feature_lengths=None,
                decoder_input_ids=None,
                labels=None,
                target_positions=torch.tensor([1, 4]),
                noise_target=None,
                noise_positions=None,
                ids=list("abcd"),
                second_rows=second_rows,
            )
            watch.add(DualDecoderOutput(gates=gates), batch)
            watch.report(said, step + STEPS_TO_DIFFER - 2)  # type: ignore[arg-type]
        return said

    with_some = reported([0, 2, 3])
    assert with_some.lines == []
    assert with_some.figures[1::2] == [{"with_second": 0.75}] * 30
    assert ("distance" in with_some.figures[0]) == dual
    without = reported([])
    assert without.figures[1] == {"with_second": 0.0}
    (line,) = without.lines
    assert "none of 100 utterances had a second recording" in line and "columns.second_audio" in line
    assert ("second attentions read the first one" if dual else "the first one alone") in line
    assert reported([], steps=20).lines == []  # too few utterances to say so


def test_gates_and_shares_are_of_targets_alone(tiny_config: Path) -> None:
    config = load_config(tiny_config)
    watch = AttentionWatch(build_accelerator(config), build_model(config)[0])
    gates = (torch.tensor([[0.9, 0.2, 0.4], [0.9, 0.6, 0.9]]),) * 2
    shares = (torch.full((2, 2, 3), 0.5), torch.full((2, 2, 3), 0.25))
    output = DualDecoderOutput(gates=gates, noise_shares=shares)

    class Given:
        target_positions, noise_positions = torch.tensor([1, 2, 4]), torch.tensor([1, 2])

    watch.add(output, Given())  # type: ignore[arg-type]
    figures = watch.read()
    assert figures["gate_mean"] == pytest.approx([0.4, 0.4])
    assert figures["gate_spread"] == pytest.approx([np.std([0.2, 0.4, 0.6])] * 2, abs=1e-5)
    assert figures["noise_share"] == pytest.approx([0.5, 0.25])
    assert "noise_share" not in watch.read()


def test_a_rate_by_strategy_is_the_controls_too(tiny_values: dict[str, Any]) -> None:
    tiny_values["model"] = {"checkpoint": "openai/whisper-tiny", "dual_attention": False, "wider_feed_forward": True}
    tiny_values["optimizer"]["new_modules_learning_rate"] = {"full": 1e-4}
    assert RunConfig(**tiny_values).optimizer.new_modules_learning_rate == 1e-4
    tiny_values["model"]["wider_feed_forward"] = False
    assert RunConfig(**tiny_values).optimizer.new_modules_learning_rate is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["noise.loss_weight=0.1"], "data.augmentation"),
        (["noise.loss_weight=0.1", "data.augmentation.gain_share=1"], "noise_share"),
        (["noise.loss_weight=.inf"], "noise.loss_weight"),
        (["model.gate_bias=.nan"], "model.gate_bias"),
        (["noise.loss_layers=[-1]"], "noise.loss_layers"),
        (["noise.loss_weight=-1"], "noise.loss_weight"),
        (["noise.loss_weight=nan"], "noise.loss_weight"),
        (["noise.loss_layers=[7]", "noise.loss_weight=0.1"], "noise.loss_layers"),
        (["model.dual_attention=false", "optimizer.new_modules_learning_rate=null", "noise.loss_weight=0.1"], "second"),
        (["optimizer.primary_frozen_steps=13"], "training.steps"),
        (["model.wider_feed_forward=true"], "dual_attention to false"),
        (["model.secondary_layer=5"], "secondary_layer is 5"),
        (["model.secondary_added=true", "model.dual_attention=false"], "secondary_added does nothing"),
        (["noise.loss_frames=speech"], "noise.loss_frames does nothing"),
        (
            ["noise.loss_frames=speech", "noise.loss_weight=1", "data.augmentation.silence_is_noise=true"],
            "leaves out the frames of data.augmentation.silence_is_noise",
        ),
    ],
)
def test_what_cannot_be_is_refused(tiny_config: Path, noises: Path, overrides: list[str], message: str) -> None:
    more = noisy(noises) if any("loss_layers" in one for one in overrides) else []
    with pytest.raises(ConfigError, match=message):
        build_model(load_config(tiny_config, [*more, *overrides]))


def test_a_frozen_primary_in_half_precision_shows_no_distance_of_its_own(tiny_config: Path) -> None:
    from modeling.frozen import hold_frozen

    config = load_config(tiny_config)
    model, _ = build_model(config)
    model.start_as_whisper()
    with torch.no_grad():
        model.model.decoder.layers[1].secondary_attn.v_proj.weight.mul_(1.01)
    for layer in model.model.decoder.layers:
        layer.encoder_attn.requires_grad_(False)
    watch = AttentionWatch(build_accelerator(config), model)
    exact = watch.distances()
    hold_frozen(model, torch.bfloat16, keep=True)
    assert watch.distances() == pytest.approx(exact, rel=3e-2, abs=1e-4)  # uncorrected 0.0017 and more
    assert exact[0] == 0.0 < exact[1]
