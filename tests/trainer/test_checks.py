"""One list of checks: training, ``--check`` and the doctor say the same of a config that cannot be right."""

import json
from pathlib import Path

import pytest

import launch.doctor
import launch.train
from tests.end_to_end import run


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("precision", ["engine.precision=fp16"]),
        ("optimizer", ["optimizer.name=cpu_adam"]),
        ("language", ["data.language=xx"]),
        ("data.validation", ["data.validation.files=nowhere.parquet"]),
        ("evaluation", ["evaluation.columns=[accent]"]),
        ("data.augmentation", ["data.augmentation={noise: {folder: nowhere}, noise_share: 0.5}"]),
        ("model", ["model.architecture=null", "model.checkpoint=./nowhere"]),
        ("evaluation.max_new_tokens", ["evaluation.max_new_tokens=445"]),
    ],
)
def test_all_three_refuse_it_in_the_same_words(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch, name: str, overrides: list[str]
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    refused, planned = (
        run(launch.train.main, "--config", tiny_config, *extra, *overrides) for extra in ([], ["--check"])
    )
    assert (refused.code, planned.code) == (2, 2)
    assert refused.complaint == planned.complaint
    assert not (tiny_config.parent / "run").exists()
    outcome = run(launch.doctor.main, "--config", tiny_config, "--no-measuring", "--json", *overrides)
    lacking = [finding for finding in json.loads(outcome.output)["findings"] if finding["state"] == "lacks"]
    assert [finding["name"] for finding in lacking] == [name], lacking
    found, remedy = lacking[0]["found"], lacking[0]["remedy"]
    assert refused.complaint == f"error: {found}" + (f"; {remedy}" if remedy else "")
