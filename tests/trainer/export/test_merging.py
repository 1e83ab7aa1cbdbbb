"""Merging: the mean of models to the last bit, adapters by their updates, mixtures chosen on held-out speech."""

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import launch.merge
from modeling.adapters import merged, save_adapter
from modeling.checkpoint_files import Checkpoint
from modeling.checkpoints import open_adapter, open_model
from modeling.processors import save_processor
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint
from trainer.config.run import RunConfig
from trainer.evaluation.checkpoint import evaluate_checkpoint
from trainer.export.exporting import write_weights
from trainer.export.merging.means import mean_of, means
from trainer.export.merging.sources import root_of, source_of
from trainer.model.building import build_model, model_before_training, starting_checkpoint
from trainer.record.folder import write_config
from trainer.run import train

pytestmark = pytest.mark.usefixtures("exact_attention")

LORA = {"strategy": "lora", "lora": {"rank": 4, "alpha": 8.0}}
Runs = Callable[..., Path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain Whisper to begin from."""
    return save_checkpoint(tmp_path_factory.mktemp("hub") / "base", padding=None, positions=64)


@pytest.fixture
def make_run(base: Path, tiny_values: dict[str, Any], tmp_path: Path) -> Runs:
    """Makes a run's folder with a ``best/`` of its own: its beginning, moved at random."""

    def made(name: str, seed: int = 0, checkpoint: Path | None = None, padding: str = "clip", **model: Any) -> Path:
        settings = {"checkpoint": str(checkpoint or base), "encoder_padding": padding, **model}
        values = tiny_values | {"output_dir": str(tmp_path / name), "model": settings}
        if not model.get("dual_attention", True):
            values["optimizer"] = {"learning_rate": 1e-3}
        config = RunConfig.model_validate(values)
        adapts = config.model.chosen_strategy.has_adapters
        start = starting_checkpoint(config)
        opened, processor = build_model(config, start) if adapts else model_before_training(config, start)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in opened.parameters():
                if parameter.requires_grad:
                    parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        write_config(config)
        best = tmp_path / name / "best"
        best.mkdir()
        if adapts:
            save_adapter(opened, opened.state_dict(), best)
        else:
            write_weights(opened, best, torch.float32, "5GB")
        save_processor(processor, best)
        return tmp_path / name

    return made


def merge(*arguments: object) -> Outcome:
    return run(launch.merge.main, *arguments)


@pytest.fixture
def merge_well(tmp_path: Path) -> Callable[..., Path]:
    def merged_into(*arguments: object) -> Path:
        outcome = merge(*arguments, "--output", tmp_path / "merged")
        assert outcome.code == 0, outcome.errors
        return tmp_path / "merged"

    return merged_into


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


# The mean


def test_the_mean_is_the_exact_one_rounded_once() -> None:
    generator = torch.Generator().manual_seed(1)
    tensors = [torch.randn(50, generator=generator) * 10**power for power in (-3, 0, 2)]
    mean = mean_of(tensors, [1.0, 1.0, 1.0])
    assert mean.dtype == torch.float32
    for number, found in enumerate(mean.tolist()):
        exact = sum(Fraction(tensor[number].item()) for tensor in tensors) / 3
        assert found == torch.tensor(float(exact), dtype=torch.float64).float().item()


def test_the_mean_of_one_value_is_that_value() -> None:
    one = torch.randn(1000, generator=torch.Generator().manual_seed(2))
    assert torch.equal(mean_of([one, one, one], [0.7, 0.2, 0.1]), one)


def test_a_weight_of_one_gives_that_model_alone() -> None:
    one, other = torch.randn(2, 100, generator=torch.Generator().manual_seed(3))
    assert torch.equal(mean_of([one, other], [1.0, 0.0]), one)


def test_tensors_are_read_one_name_at_a_time(make_run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.export.merging.sources import Stored

    original, read = Stored.read, []
    monkeypatch.setattr(Stored, "read", lambda self: (read.append(self.key), original(self))[1])
    sources = [source_of(str(make_run(name, seed))) for seed, name in enumerate("ab")]
    first, _ = next(means(sources, [1.0, 1.0]))
    assert read == [first, first]


# Whole models


@pytest.mark.parametrize("model", [{}, {"dual_attention": False}, {"padding": "window"}])
def test_merged_runs_are_the_mean_of_their_weights_to_the_last_bit(
    make_run: Runs, merge_well: Callable[..., Path], model: dict[str, Any]
) -> None:
    runs = [make_run(f"run_{seed}", seed, **model) for seed in range(3)]
    folder = merge_well(*runs)
    ours, theirs = weights(folder), [weights(one / "best") for one in runs]
    assert ours.keys() == theirs[0].keys()
    for key, value in ours.items():
        mean = (torch.stack([one[key] for one in theirs]).double().sum(0) / 3).float()
        assert value.dtype == torch.float32 and torch.equal(value, mean), key
    opened, before = open_model(str(folder)), open_model(str(runs[0] / "best"))
    assert type(opened) is type(before)
    assert opened.config.to_dict().items() >= {"encoder_padding": model.get("padding", "clip")}.items()
    assert Checkpoint(str(folder)).processor.tokenizer.get_vocab()
    told = json.loads((folder / "merged.json").read_text())
    assert [one["name"] for one in told["sources"]] == [str(one / "best") for one in runs]


def test_weights_count(make_run: Runs, merge_well: Callable[..., Path], tmp_path: Path) -> None:
    one, other = make_run("one", 1), make_run("other", 2)
    ours = weights(merge_well(one, other / "best", "--weights", "0.75,0.25"))
    first, second = weights(one / "best"), weights(other / "best")
    for key, value in ours.items():
        assert torch.equal(value, (0.75 * first[key].double() + 0.25 * second[key].double()).float()), key


def test_the_merged_folder_is_evaluated_like_any_other(make_run: Runs, merge_well: Callable[..., Path]) -> None:
    from trainer.config.reading import load_config

    one = make_run("one", 1)
    folder = merge_well(one, make_run("other", 2))
    found = evaluate_checkpoint(load_config(one / "config.yaml"), str(folder), "validation")
    assert found[0].rates.utterances == 11


def test_a_folder_in_bf16_and_one_with_untied_copies_are_read_too(
    make_run: Runs, merge_well: Callable[..., Path]
) -> None:
    one, other = make_run("one", 1), make_run("other", 2)
    stored = {key: value.bfloat16() for key, value in weights(one / "best").items()}
    stored["proj_out.weight"] = stored["model.decoder.embed_tokens.weight"].clone()
    save_file(stored, one / "best" / "model.safetensors", metadata={"format": "pt"})
    ours, theirs = weights(merge_well(one, other)), weights(other / "best")
    for key, value in ours.items():
        assert torch.equal(value, ((stored[key].double() + theirs[key].double()) / 2).float()), key


# Step checkpoints of a run that was trained


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    source = {"columns": {"id": "id"}, "max_utterances": 8}
    shape = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 2}
    values = {
        "output_dir": str(folder),
        "model": {"architecture": shape},
        "data": {
            "language": "az",
            "train": source | {"files": str(corpus / "train-*.parquet")},
            "validation": source | {"files": str(corpus / "validation-*.parquet")},
        },
        "training": {"steps": 4, "batch_size": 2},
        "optimizer": {"learning_rate": 1e-2},
        "engine": {"precision": "fp32"},
        "evaluation": {"every_steps": 1, "max_new_tokens": 4},
        "checkpoints": {"every_steps": 1, "keep": 3},
    }
    train(RunConfig.model_validate(values))
    return folder


def test_the_last_checkpoints_of_a_run(trained: Path, merge_well: Callable[..., Path]) -> None:
    ours = weights(merge_well(trained, "--last", 2))
    steps = [load_file(trained / "checkpoints" / f"step_0000000{step}" / "model.safetensors") for step in (3, 4)]
    for key, value in ours.items():
        assert torch.equal(value, ((steps[0][key].double() + steps[1][key].double()) / 2).float()), key


def test_the_best_checkpoints_of_a_run(trained: Path, tmp_path: Path, merge_well: Callable[..., Path]) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "copy"))
    rows = [
        {"kind": "validation", "step": step, "word_error_rate": rate} for step, rate in ((2, 0.3), (3, 0.9), (4, 0.5))
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = merge_well(folder, "--best", 2) / "merged.json"
    names = [Path(one["name"]).name for one in json.loads(told.read_text())["sources"]]
    assert names == ["step_00000002", "step_00000004"]


def test_more_checkpoints_than_there_are(trained: Path, tmp_path: Path) -> None:
    outcome = merge(trained, "--last", 9, "--output", tmp_path / "merged")
    assert outcome.code == 2 and "has kept 3 step checkpoints" in outcome.complaint


def test_shards_are_refused_plainly(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "copy"))
    for step in (folder / "checkpoints").iterdir():
        (step / "latest").write_text("pytorch_model")
    outcome = merge(folder, "--last", 2, "--output", tmp_path / "merged")
    assert outcome.code == 2 and "export it with launch/export.py" in outcome.complaint


# Adapters


def test_the_mean_of_adapters_has_the_mean_of_their_updates(make_run: Runs, merge_well: Callable[..., Path]) -> None:
    runs = [make_run("a", 1, **LORA), make_run("b", 2, **(LORA | {"lora": {"rank": 2, "alpha": 2.0}}))]
    folder = merge_well(*runs, "--weights", "0.75,0.25")
    values = json.loads((folder / "adapter_config.json").read_text())
    assert (values["r"], values["lora_alpha"]) == (6, 6)
    ours = merged(open_adapter(Checkpoint(str(folder))), "merged").state_dict()
    theirs = [merged(open_adapter(Checkpoint(str(one / "best"))), "one").state_dict() for one in runs]
    changed = 0
    for key, value in ours.items():
        mean = 0.75 * theirs[0][key].double() + 0.25 * theirs[1][key].double()
        assert (value - mean).abs().max() < 1e-6, key
        changed += not torch.equal(theirs[0][key], theirs[1][key])
    assert changed > 10, "else the test shows nothing"
    new = [key for key in load_file(folder / "adapter_model.safetensors") if "secondary_attn" in key]
    files = [load_file(one / "best" / "adapter_model.safetensors") for one in runs]
    stored = load_file(folder / "adapter_model.safetensors")
    assert new
    for key in new:
        mean = (0.75 * files[0][key].double() + 0.25 * files[1][key].double()).float()
        assert torch.equal(stored[key], mean), key


def test_adapters_of_different_bases_are_refused(make_run: Runs, base: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other_base"))
    stored = weights(other)
    stored["model.encoder.conv1.weight"] += 1
    save_file(stored, other / "model.safetensors", metadata={"format": "pt"})
    runs = make_run("a", 1, **LORA), make_run("b", 2, checkpoint=other, **LORA)
    outcome = merge(*runs, "--output", tmp_path / "merged")
    assert outcome.code == 2 and "their bases differ" in outcome.complaint


@pytest.mark.parametrize("key", ["use_dora", "rank_pattern"])
def test_adapters_without_an_exact_mean_are_refused(make_run: Runs, tmp_path: Path, key: str) -> None:
    runs = make_run("a", 1, **LORA), make_run("b", 2, **LORA)
    path = runs[1] / "best" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: {"q_proj": 1} if key != "use_dora" else True}))
    outcome = merge(*runs, "--output", tmp_path / "merged")
    assert outcome.code == 2 and f"an adapter with {key}, of which there is no exact mean" in outcome.complaint


# Refusals


def refusal(*arguments: object, folder: Path) -> str:
    outcome = merge(*arguments, "--output", folder)
    assert outcome.code == 2, outcome.errors
    assert not folder.exists() or any(folder.iterdir())
    assert len(outcome.complaint.splitlines()) == 1
    return outcome.complaint


def test_models_that_have_no_mean(make_run: Runs, base: Path, tmp_path: Path) -> None:
    one, folder = make_run("one"), tmp_path / "merged"
    plain = make_run("plain", dual_attention=False)
    assert "dual_attention is True in" in refusal(one, plain, folder=folder)
    assert "is a whole model and" in refusal(one, make_run("adapter", **LORA), folder=folder)
    assert "encoder_padding is 'clip' in" in refusal(one, make_run("window", padding="window"), folder=folder)
    other = save_checkpoint(tmp_path / "other" / "base", padding=None, positions=64)
    assert "models from different beginnings have no mean" in refusal(
        one, make_run("elsewhere", checkpoint=other), folder=folder
    )


def test_other_shapes_and_vocabularies(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "merged"
    longer = save_checkpoint(tmp_path / "longer", padding=None, positions=65)
    assert "max_target_positions is 64 in" in refusal(base, longer, folder=folder)
    finer = save_checkpoint(tmp_path / "finer", padding=None, positions=64, mel_bins=128)
    assert "num_mel_bins is 80 in" in refusal(base, finer, folder=folder)
    renamed = Path(shutil.copytree(base, tmp_path / "renamed"))
    path = renamed / "tokenizer.json"
    path.write_text(path.read_text().replace("<|az|>", "<|tr|>"))
    assert "have different vocabularies" in refusal(base, renamed, folder=folder)
    cut = Path(shutil.copytree(base, tmp_path / "cut"))
    stored = weights(cut)
    del stored["model.decoder.layer_norm.weight"]
    save_file(stored, cut / "model.safetensors", metadata={"format": "pt"})
    assert "lacks tensors of" in refusal(base, cut, folder=folder)
    stored["model.decoder.layer_norm.weight"] = torch.zeros(5)
    save_file(stored, cut / "model.safetensors", metadata={"format": "pt"})
    assert "has the shape [32] in" in refusal(base, cut, folder=folder)


def test_quantised_weights_have_no_mean(base: Path, tmp_path: Path) -> None:
    quantised = Path(shutil.copytree(base, tmp_path / "quantised"))
    stored = weights(quantised)
    stored["model.decoder.layers.0.fc1.weight"] = torch.zeros(7, dtype=torch.uint8)
    save_file(stored, quantised / "model.safetensors", metadata={"format": "pt"})
    told = refusal(base, quantised, folder=tmp_path / "merged")
    assert "holds quantised weights (model.decoder.layers.0.fc1.weight in U8), of which there is no mean" in told


def test_damaged_and_infinite_weights(base: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(base, tmp_path / "broken"))
    stored = weights(broken)
    stored["model.decoder.layer_norm.weight"][0] = float("inf")
    save_file(stored, broken / "model.safetensors", metadata={"format": "pt"})
    assert "not finite numbers" in refusal(base, broken, folder=tmp_path / "merged")
    (broken / "model.safetensors").write_bytes(b"nothing")
    assert "cannot read" in refusal(base, broken, folder=tmp_path / "merged")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("{base}",), "alone has no mean"),
        (("{base}", "{base}", "--weights", "0.5,0.6"), "--weights sum to 1.1, not to 1"),
        (("{base}", "{base}", "--weights", "1.5,-0.5"), "--weights has -0.5; a weight must be 0 or more"),
        (("{base}", "{base}", "--weights", "1"), "--weights has 1 numbers for 2 models"),
        (("{base}", "{base}", "--weights", "nan,1"), "--weights has nan"),
        (("{base}", "{base}", "--weights", "a,b"), "is not numbers with commas between them"),
        (("{base}", "no/such/place/at/all"), "is neither a folder nor a hub name"),
        (("{base}", "{there}/empty"), "has no config.json"),
        (("{base}", "--last", "2"), "is no run's folder"),
        (("{base}", "--last", "2", "--best", "2"), "give one"),
        (("{base}", "--last", "0"), "--last"),
        (("{base}", "--interpolate", "0,2"), "--interpolate has 2; shares of training are from 0 to 1"),
        (("{base}", "--interpolate", "0,1"), "lies in no run's folder"),
        (("{base}", "{base}", "--config", "x.yaml"), "--config goes with --interpolate"),
        (("{base}", "{base}", "evaluation.beams=2"), "evaluation.beams=2 goes with --interpolate"),
    ],
)
def test_arguments_that_cannot_be_used(base: Path, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    (tmp_path / "empty").mkdir()
    filled = [word.format(base=base, there=tmp_path) for word in arguments]
    assert told in refusal(*filled, folder=tmp_path / "merged")


def test_a_run_without_best_and_a_full_output_folder(base: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.yaml").write_text("model: {}\n")
    assert "is a run without best/" in refusal(base, unfinished, folder=tmp_path / "merged")
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("kept")
    assert "which is not empty: choose another" in refusal(base, base, folder=full)
    assert (full / "file").read_text() == "kept"


def test_a_run_that_went_on_from_another_has_its_beginning(make_run: Runs, base: Path) -> None:
    first = make_run("first")
    second = make_run("second", checkpoint=first / "best")
    assert root_of(str(second / "best")) == root_of(str(first / "best")) == str(base)
    assert root_of(str(base)) is None
    assert root_of("openai/whisper-tiny") == "openai/whisper-tiny"


# Mixtures with the model before training


def test_the_mixture_that_makes_fewest_errors_is_written(make_run: Runs, tmp_path: Path, base: Path) -> None:
    folder, one = tmp_path / "mixed", make_run("one", 1)
    shares = (0, 0.25, 0.5, 1)
    asked = ("evaluation.best_metric=character_error_rate", "--interpolate", "1,0,0.25,0.5")
    outcome = merge(one, "--output", folder, *asked)
    assert outcome.code == 0, outcome.errors
    curve = json.loads((folder / "interpolation.json").read_text())
    assert [point["share"] for point in curve["points"]] == list(shares)
    figures = {point["share"]: point["character_error_rate"] for point in curve["points"]}
    assert len(set(figures.values())) > 1, "else the test shows nothing"
    chosen = min(shares, key=lambda share: (figures[share], -share))
    assert curve["chosen"] == chosen and f"{chosen:g} *" in outcome.output
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []
    config = RunConfig.model_validate(yaml.safe_load((one / "config.yaml").read_text()))
    before = model_before_training(config, starting_checkpoint(config))[0].state_dict()
    ours, after = weights(folder), weights(one / "best")
    for key, value in ours.items():
        mixed = ((chosen * after[key].double() + (1 - chosen) * before[key].double()) / 1.0).float()
        assert torch.equal(value, mixed), key
    again = evaluate_checkpoint(config, str(folder), "validation")[0]
    assert again.rates.character_error_rate == figures[chosen]
    alone = evaluate_checkpoint(config, str(one / "best"), "validation")[0]
    assert alone.rates.character_error_rate == figures[1]


def test_mixtures_of_an_adapter_and_of_several_runs(make_run: Runs, tmp_path: Path) -> None:
    runs = [make_run("a", 1, **LORA), make_run("b", 2, **LORA)]
    folder = tmp_path / "mixed"
    outcome = merge(*runs, "--output", folder, "--interpolate", "0.5")
    assert outcome.code == 0, outcome.errors
    config = RunConfig.model_validate(yaml.safe_load((runs[0] / "config.yaml").read_text()))
    before = model_before_training(config, starting_checkpoint(config))[0].state_dict()
    ours = merged(open_adapter(Checkpoint(str(folder))), "mixed").state_dict()
    theirs = [merged(open_adapter(Checkpoint(str(one / "best"))), "one").state_dict() for one in runs]
    for key, value in ours.items():
        mixed = 0.5 * before[key].double() + 0.25 * theirs[0][key].double() + 0.25 * theirs[1][key].double()
        assert (value - mixed).abs().max() < 1e-6, key


def test_a_config_that_begins_elsewhere_is_refused(make_run: Runs, base: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other_base"))
    config = make_run("elsewhere", 2, checkpoint=other) / "config.yaml"
    told = refusal(make_run("one", 1), "--interpolate", "0,1", "--config", config, folder=tmp_path / "mixed")
    assert f"was trained from {base}, but" in told and f"begins from {other}" in told


def test_a_moved_adapter_finds_its_base(make_run: Runs, tmp_path: Path) -> None:
    """Of a base that moved together with it."""
    own = save_checkpoint(tmp_path / "there" / "base", padding=None, positions=64)
    runs = [make_run(f"there/{name}", seed, checkpoint=own, **LORA) for seed, name in enumerate("ab")]
    assert merge(*runs, "--output", tmp_path / "there" / "merged").code == 0
    (tmp_path / "there").rename(tmp_path / "elsewhere")
    assert open_model(str(tmp_path / "elsewhere" / "merged")).config.d_model == 32


def test_an_error_in_the_middle_leaves_nothing(make_run: Runs, tmp_path: Path) -> None:
    outcome = merge(make_run("one", 1), "--output", tmp_path / "mixed", "--interpolate", "0,1", "data.language=xx")
    assert outcome.code == 2, outcome.errors
    assert [path.name for path in tmp_path.iterdir() if "mixed" in path.name] == []
