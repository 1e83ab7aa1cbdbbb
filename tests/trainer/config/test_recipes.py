"""The recipes in configs/: each loads, says for whom it is, and does what its name and its comment say."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT
from trainer.config.reading import load_config, read_yaml
from trainer.config.run import RunConfig

FOLDER = ROOT / "configs"
SUITES = ("noise_suite.yaml", "demo_noise_suite.yaml")  # of launch/eval.py, no runs
RECIPES = sorted(path for path in FOLDER.glob("*.yaml") if path.name not in ("common.yaml", *SUITES))
CHECKPOINTS = {
    "tiny": "openai/whisper-tiny",
    "base": "openai/whisper-base",
    "small": "openai/whisper-small",
    "medium": "openai/whisper-medium",
    "large_v3": "openai/whisper-large-v3",
    "turbo": "openai/whisper-large-v3-turbo",
}
ENGINES = {
    "": (0, "none"),
    "_ddp": (0, "none"),
    "_zero2": (2, "none"),
    "_zero3": (3, "none"),
    "_zero2_offload": (2, "optimizer"),
    "_zero3_offload": (3, "parameters"),
}
SIZE_AND_ENGINE = [(size, engine) for size in CHECKPOINTS for engine in ENGINES]
UTTERANCES_PER_STEP = 64


@cache
def loaded(path: Path) -> RunConfig:
    return load_config(path)


def recipe(size: str, engine: str) -> tuple[RunConfig, str]:
    """The config of a size and an engine, and what the size's file says of it."""
    text, _, engines = (FOLDER / f"{size}.yaml").read_text(encoding="utf-8").partition("\nengines:")
    if engine:
        text = re.search(rf"((?:^  # .*\n)+)  {engine[1:]}: ", engines, re.MULTILINE)[1]  # type: ignore[index]
    return loaded(FOLDER / f"{size}{engine}.yaml"), text


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_loads_and_begins_with_its_user(path: Path) -> None:
    loaded(path)
    assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_files_named_in_comments_exist(path: Path) -> None:
    comments = "\n".join(re.findall(r"#.*", path.read_text(encoding="utf-8")))
    for name in re.findall(r"[\w/]+\.yaml", comments):
        assert (FOLDER.parent / name).exists() or read_yaml(FOLDER / Path(name).name), name


def test_no_two_recipes_write_to_one_folder() -> None:
    folders = [loaded(path).output_dir for path in RECIPES]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize(("size", "engine"), SIZE_AND_ENGINE)
def test_engine_and_checkpoint_are_those_of_the_name(size: str, engine: str) -> None:
    config, _ = recipe(size, engine)
    assert (config.engine.zero_stage, config.engine.cpu_offload) == ENGINES[engine]
    assert config.model.checkpoint == CHECKPOINTS[size]
    assert config.output_dir == f"runs/{size}{engine}"


@pytest.mark.parametrize(("size", "engine"), SIZE_AND_ENGINE)
def test_engines_of_a_size_train_alike(size: str, engine: str) -> None:
    """What differs between engines is where the work is done: data, rates and the size of a step stay."""
    config, _ = recipe(size, engine)
    plain, _ = recipe(size, "")
    for section in ("model", "data", "optimizer", "evaluation", "checkpoints"):
        assert getattr(config, section) == getattr(plain, section)
    assert config.training.steps == plain.training.steps


@pytest.mark.parametrize(("size", "engine"), SIZE_AND_ENGINE)
def test_a_step_is_the_same_in_all_of_them(size: str, engine: str) -> None:
    training = recipe(size, engine)[0].training
    assert (training.step_utterances, training.batch_size, training.accumulation) == (UTTERANCES_PER_STEP, "auto", 1)


def test_the_table_of_recipes_names_each_one_and_its_gpus() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for size in CHECKPOINTS:
        cells = []
        for engine in ENGINES:
            text = recipe(size, engine)[1]
            found = re.search(r"# Predicted on (\d+) GPUs?: .*?(\d+) ?GB ", text)
            assert found
            cells.append(f"{found[1]} x {found[2]} GB")
        assert f"| `{size}` | {' | '.join(cells)} |" in page


@pytest.mark.parametrize("size", CHECKPOINTS)
def test_new_modules_learn_faster(size: str) -> None:
    """With equal rates the second attention stays a copy of the first."""
    optimizer = recipe(size, "")[0].optimizer
    assert optimizer.new_modules_learning_rate is not None
    assert 5 <= optimizer.new_modules_learning_rate / optimizer.learning_rate <= 10


@pytest.mark.parametrize(("name", "processes"), [("one_gpu", 1), ("eight_gpus", 8)])
def test_launcher_leaves_the_engine_to_the_run(name: str, processes: int) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import DistributedType

    path = FOLDER / "accelerate" / f"{name}.yaml"
    launcher = load_config_from_file(str(path))
    assert launcher.num_processes == processes
    assert launcher.distributed_type == (DistributedType.MULTI_GPU if processes > 1 else DistributedType.NO)
    assert launcher.mixed_precision == "no"
    assert not launcher.deepspeed_config
    assert path.read_text(encoding="utf-8").startswith("# ")
