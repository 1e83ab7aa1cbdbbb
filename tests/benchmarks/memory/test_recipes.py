"""What each recipe of configs/ says that a run finds is what the prediction says for the GPUs that it names.

Whoever changes what a step takes runs ``python -m benchmarks.memory recipes``, which writes the lines anew.
"""

import re
from pathlib import Path

import pytest

from benchmarks.memory import recipes_command
from benchmarks.memory.recipes_command import FOLDER, Said, lines_of, predicted
from tests.end_to_end import run
from tests.trainer.config.test_recipes import CHECKPOINTS, SIZE_AND_ENGINE, UTTERANCES_PER_STEP
from trainer.config.reading import dump_config, load_config
from trainer.memory.needs import Needs

SAID = {said.config.stem: said for size in CHECKPOINTS for said in lines_of(FOLDER / f"{size}.yaml")}
QUICK = {"tiny", "tiny_zero2"}
TOLERANCE = 0.1  # other releases of the libraries keep a little more or less
CHOSEN = [
    pytest.param(said, marks=() if name in QUICK else pytest.mark.slow, id=name) for name, said in sorted(SAID.items())
]


def test_every_size_and_engine_has_its_line() -> None:
    assert set(SAID) == {f"{size}{engine}" for size, engine in SIZE_AND_ENGINE}


@pytest.mark.parametrize("name", sorted(SAID))
def test_a_step_is_shared_out_as_the_line_says(name: str) -> None:
    said = SAID[name]
    share = UTTERANCES_PER_STEP // said.gpus
    assert said.found and UTTERANCES_PER_STEP % said.gpus == 0
    for size, accumulation in said.found.values():
        assert size == -(-share // accumulation), said


@pytest.mark.parametrize("said", CHOSEN)
def test_a_line_says_what_is_predicted(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    now = predicted(said)
    for gpu, (size, _) in said.found.items():
        assert now.found[gpu][0] == pytest.approx(size, rel=TOLERANCE, abs=1), f"in configs/ write: {now}"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("# Predicted on 1 GPU: 8 GB", 2, "line 1: '# Predicted on 1 GPU: 8 GB' is no such line as '# Predicted on 1"),
        ("# Predicted on 1 GPU: T4 16GB 8 x 8, 8 GB", 2, "is no such line"),
        ("# Predicted on 1 GPU:", 2, "is no such line"),
        ("# Predicted on 0 GPUs: 8 GB 8 x 8", 2, "is no such line"),
        ("# Predicted on 1 GPU: 8 GB 8 x 8", 2, "training.step_utterances is null"),
        ("# nothing", 0, "mine.yaml has no line such as '# Predicted on 1"),
        (None, 2, "cannot read the recipe"),
    ],
)
def test_what_is_no_recipe_is_said(
    text: str | None, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes_command, "evaluation_bytes", lambda cell: 2**30)
    path = tmp_path / "mine.yaml"
    if text is not None:
        steps = ["training.step_utterances=null", "training.batch_size=8", "output_dir=mine"]
        path.write_text(f"{text}\n{dump_config(load_config(FOLDER / 'tiny.yaml', steps))}", encoding="utf-8")
    before = path.read_text(encoding="utf-8") if text else ""
    outcome = run(recipes_command.main, path)
    assert outcome.code == code and said in outcome.errors, outcome.errors
    assert (path.read_text(encoding="utf-8") if text else "") == before


def test_the_command_writes_lines_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their places, with what is found now; everything else stays."""
    gib = 2**30
    monkeypatch.setattr(Needs, "predicted", lambda self, size, accumulates: gib * size)
    monkeypatch.setattr(recipes_command, "evaluation_bytes", lambda cell: gib)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("common.yaml", "small.yaml"):
        (tmp_path / name).write_text((FOLDER / name).read_text(encoding="utf-8"), encoding="utf-8")
    path = tmp_path / "small.yaml"
    before = path.read_text(encoding="utf-8").splitlines()
    path.write_text(re.sub(r"16 GB (?=\d+ x)", "7 GB ", "\n".join(before)) + "\n", encoding="utf-8")
    outcome = run(recipes_command.main, path)
    assert outcome.code == 0, outcome.errors
    after = path.read_text(encoding="utf-8").splitlines()
    changed = [number for number, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert changed and all("Predicted on" in before[number] for number in changed)
    told = {said.config.stem: said.found for said in lines_of(path)}
    assert told["small"]["7 GB"] == (6, 11) and told["small"]["A10 24GB"] == (16, 4)
    assert told["small_ddp"]["7 GB"] == (4, 2)
    path.write_text("\n".join(after).replace("7 GB ", "1 GB "), encoding="utf-8")
    outcome = run(recipes_command.main, path)
    assert outcome.code == 2 and outcome.complaint == "error: small: 1 GB has no room for it: take it out of the line"
