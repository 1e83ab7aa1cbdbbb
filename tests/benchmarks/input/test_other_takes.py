"""Pairs of recordings that are told apart, and figures like those that are documented."""

import json
import re
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.input.other_takes import SETTINGS, compared
from benchmarks.input.speech_like_clips import clip
from data.augmentation.fields import NoiseSourceConfig
from data.augmentation.noise_clips import NoiseClips
from tests import ROOT


def test_the_same_sound_is_told_from_another_and_its_delay_is_found(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", generator.normal(0, 0.1, 32_000), 16_000)
    noises = NoiseClips(NoiseSourceConfig(folder=str(tmp_path)))
    clips = [clip(3.0, seed) for seed in range(3)]
    for name in ("no noise", "10 dB"):
        found = compared(clips, SETTINGS[name], noises, 0)
        assert (found["same_told_as_other"], found["delay_right"]) == (0, 1)
        assert found["other_told"] > 0.5


def test_the_page_has_the_figures() -> None:
    figures = json.loads((ROOT / "benchmarks/results/second_recording/other_takes.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "preparing.md").read_text(encoding="utf-8")
    assert f"Measured on {figures['clips']}" in re.sub(r"\s+", " ", page)
    for name, found in figures["settings"].items():
        shares = (found[key] for key in ("same_told_as_other", "other_told", "delay_right"))
        assert f"| {name} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |" in page
