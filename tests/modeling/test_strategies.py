"""Which parameters a strategy trains, against counts by hand; configs whose options do nothing; what a run trains."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from modeling.checkpoints import open_model
from modeling.parameters import IN_ORDER, Part, parameters_by_part, part_of
from modeling.published import model_without_weights, published_shape
from tests import ROOT
from tests.support.untrained import save_checkpoint
from trainer.config.reading import ConfigError, load_config
from trainer.config.run import RunConfig
from trainer.config.strategies import STRATEGIES, choose_trained, default_top_layers
from trainer.model.building import apply_strategy, planned_model
from trainer.model.parameter_table import parameter_table
from trainer.run import train

SIZES = {"base": (512, 6), "small": (768, 12), "medium": (1024, 24)}
RANK = 16


def by_hand(size: str) -> dict[str, int]:
    """Parameters of the parts of a Whisper, from the width and the number of layers alone."""
    width, layers = SIZES[size]
    attention = 4 * width**2 + 3 * width  # four matrices, three biases: the keys have none
    norm, feed_forward = 2 * width, 8 * width**2 + 5 * width
    return {
        "encoder convolutions and norm": (3 * 80 * width + width) + (3 * width**2 + width) + norm,
        "encoder positions, fixed": 1500 * width,
        "encoder layers": layers * (attention + feed_forward + 2 * norm),
        "token embeddings": 51_865 * width,
        "decoder positions and norm": 448 * width + norm,
        # Each attention with the norm before it.
        "decoder self-attention": layers * (attention + norm),
        "primary attention": layers * (attention + norm),
        "decoder feed-forward": layers * (feed_forward + norm),
        "secondary attention": layers * (attention + norm),
        "gates": layers * (3 * width**2 + width + width + 1),
        "adapters": 3
        * layers
        * 2
        * 2
        * RANK
        * width,  # a layer has three attentions to adapt; queries and values; A and B
    }


def config_of(size: str, **model: Any) -> RunConfig:
    values = {
        "output_dir": "unused",
        "model": {"checkpoint": f"openai/whisper-{size}", **model},
        "data": {"language": "pl", "train": {"folder": "unused"}},
        "training": {"steps": 1},
    }
    return RunConfig.model_validate(values)


def parts_of(size: str, **model: Any) -> dict[str, Part]:
    config = config_of(size, **model)
    built = model_without_weights(published_shape(f"openai/whisper-{size}") or {}, config.model.dual_attention)
    apply_strategy(built, config)
    return {part.name: part for part in parameters_by_part(built)}


NEW = {"secondary attention", "gates"}
DECODER = {
    "token embeddings",
    "decoder positions and norm",
    "decoder self-attention",
    "primary attention",
    "decoder feed-forward",
}
TRAINED = {
    "full": {*DECODER, "encoder convolutions and norm", "encoder layers"},
    "frozen_encoder": DECODER,
    "frozen_decoder": {"encoder convolutions and norm", "encoder layers"},
    "frozen_primary": set(),
    "lora": {"adapters"},
    "qlora": {"adapters"},
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dual", [True, False])
@pytest.mark.parametrize("strategy", TRAINED)
def test_parameters_by_part_equal_a_count_by_hand(size: str, dual: bool, strategy: str) -> None:
    if strategy == "frozen_primary" and not dual:
        pytest.skip("refused")
    counted = by_hand(size)
    expected = set(counted) - ({"adapters"} if strategy not in ("lora", "qlora") else set()) - (set() if dual else NEW)
    parts = parts_of(size, strategy=strategy, dual_attention=dual)
    assert {name: part.parameters for name, part in parts.items()} == {name: counted[name] for name in expected}
    trained = {name for name, part in parts.items() if part.trained}
    assert trained == TRAINED[strategy] | (NEW if dual else set())
    assert all(part.trained in (0, part.parameters) for part in parts.values())


@pytest.mark.parametrize(("size", "millions"), [("base", 72.6), ("small", 241.7), ("medium", 763.9)])
def test_plain_whisper_has_the_published_number(size: str, millions: float) -> None:
    parts = parts_of(size, dual_attention=False)
    assert round(sum(part.parameters for part in parts.values()) / 1e6, 1) == millions


@pytest.mark.parametrize("size", SIZES)
def test_the_share_of_lora_is_below_two_per_cent(size: str) -> None:
    parts = parts_of(size, strategy="lora", dual_attention=False)
    whole = sum(part.parameters for part in parts.values())
    share = sum(part.trained for part in parts.values()) / whole
    assert 0.004 < share < 0.01
    assert share == pytest.approx(by_hand(size)["adapters"] / whole)


@pytest.mark.parametrize("size", [*SIZES, "large-v3", "large-v3-turbo"])
@pytest.mark.parametrize("dual", [True, False])
def test_the_default_layers_of_selective_are_30_to_40_per_cent_of_whispers_own(size: str, dual: bool) -> None:
    config = config_of(size, strategy="selective", dual_attention=dual)
    model = model_without_weights(published_shape(f"openai/whisper-{size}") or {}, dual)
    apply_strategy(model, config)
    new = set(model.new_modules())
    own = {name: p for name, p in model.named_parameters() if name not in new}
    share = sum(p.numel() for p in own.values() if p.requires_grad) / sum(p.numel() for p in own.values())
    assert 0.3 < share < 0.4
    assert all(p.requires_grad for name, p in model.named_parameters() if name in new)


@pytest.mark.parametrize(("size", "layers"), [("base", (4, 3)), ("small", (5, 5)), ("medium", (9, 9))])
def test_selective_trains_whole_layers_from_the_top(size: str, layers: tuple[int, int]) -> None:
    width, depth = SIZES[size]
    encoder_layer, decoder_layer = 12 * width**2 + 12 * width, 16 * width**2 + 17 * width
    model = model_without_weights(published_shape(f"openai/whisper-{size}") or {}, False)
    assert default_top_layers(model) == layers
    choose_trained(model, STRATEGIES["selective"])
    for stack, number, numbers in (("encoder", layers[0], encoder_layer), ("decoder", layers[1], decoder_layer)):
        names = {name: p for name, p in model.named_parameters() if p.requires_grad and f"model.{stack}." in name}
        assert {int(name.split(".")[3]) for name in names} == set(range(depth - number, depth))
        assert sum(p.numel() for p in names.values()) == number * numbers


def test_selective_layers_by_hand_and_too_many() -> None:
    model = model_without_weights(published_shape("openai/whisper-tiny") or {})
    apply_strategy(model, config_of("tiny", strategy="selective", selective={"encoder_layers": 0, "decoder_layers": 1}))
    trained = {name for name, p in model.named_parameters() if p.requires_grad} - set(model.new_modules())
    assert {name.split("layers.")[1][0] for name in trained} == {"3"}
    with pytest.raises(ConfigError, match=r"model\.selective: encoder_layers is 5; the model's encoder has 4"):
        apply_strategy(
            model, config_of("tiny", strategy="selective", selective={"encoder_layers": 5, "decoder_layers": 1})
        )


@pytest.mark.parametrize(
    ("options", "adapted"),
    [
        ({"targets": ["fc1"], "where": ["decoder"]}, 4),
        ({"targets": ["encoder_attn.q_proj", "encoder_attn.k_proj"]}, 8),
        ({"targets": ["out_proj"], "where": ["encoder"]}, 4),
    ],
)
def test_lora_where_it_is_asked_for(options: dict[str, Any], adapted: int) -> None:
    model = model_without_weights(published_shape("openai/whisper-tiny") or {})
    apply_strategy(model, config_of("tiny", strategy="lora", lora=options))
    adapters = [name for name, _ in model.named_parameters() if ".lora_A." in name]
    assert len(adapters) == adapted
    assert not any(".secondary_attn" in name for name in adapters)


@pytest.mark.parametrize("target", ["q_prj", "0.fc1", "secondary_attn.q_proj", "proj_out", "conv1"])
def test_lora_targets_that_match_nothing(target: str) -> None:
    config = config_of("tiny", strategy="lora", lora={"targets": ["q_proj", target]})
    with pytest.raises(ConfigError, match=r"model\.lora\.targets") as error:
        planned_model(config)
    assert repr(target) in str(error.value)
    assert "encoder_attn.q_proj" in str(error.value)
    assert "fc1" in str(error.value)


BASE: dict[str, Any] = {
    "output_dir": "unused",
    "model": {"checkpoint": "openai/whisper-tiny"},
    "data": {"language": "pl", "train": {"folder": "unused"}},
    "training": {"steps": 10},
}


@pytest.fixture
def base_file(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(yaml.safe_dump(BASE), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["model.strategy=lorra"], ("model.strategy", "lorra", "'lora'")),
        (["model.strategy=[lora]"], ("model.strategy", "['lora']")),
        (["model.lora.rank=4"], ("lora does nothing", "'full'")),
        (["model.strategy=selective", "model.lora.rank=4"], ("lora does nothing", "'selective'")),
        (["model.strategy=lora", "model.selective={encoder_layers: 1, decoder_layers: 1}"], ("selective does",)),
        (["model.strategy=lora", "model.lora.bits=8"], ("lora.bits does nothing", "'qlora'")),
        (["model.strategy=qlora", "model.lora.bits=3"], ("model.lora.bits", "3")),
        (["model.strategy=lora", "model.lora.targets=[]"], ("model.lora.targets",)),
        (["model.strategy=lora", "model.lora.where=[middle]"], ("model.lora.where", "middle")),
        (["model.strategy=frozen_primary", "model.dual_attention=false"], ("frozen_primary", "dual_attention")),
        (["model.strategy=qlora", "engine.zero_stage=3"], ("qlora", "zero_stage 2")),
        (["model.selective={encoder_layers: 0, decoder_layers: 0}", "model.strategy=selective"], ("both 0",)),
        (["model.dual_attention=false", "optimizer.new_modules_learning_rate=1e-4"], ("dual_attention is false",)),
        (["optimizer.learning_rate={lorra: 1e-3}"], ("optimizer.learning_rate", "lorra", "lora")),
        (
            ["model.checkpoint=null", "model.architecture={d_model: 8, encoder_layers: 1, decoder_layers: 1, "
             "attention_heads: 1}", "model.strategy=lora"],
            ("strategy 'lora'", "checkpoint"),
        ),
    ],
)  # fmt: skip
def test_options_that_cannot_be_right(base_file: Path, overrides: list[str], parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(base_file, overrides)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_learning_rate_follows_the_strategy_where_none_is_given(base_file: Path, strategy: str) -> None:
    config = load_config(base_file, [f"model.strategy={strategy}"])
    assert config.optimizer.learning_rate == STRATEGIES[strategy].learning_rate


def test_a_learning_rate_for_each_strategy(base_file: Path) -> None:
    rates = ["optimizer.learning_rate={full: 2e-5, lora: 5e-4}", "optimizer.new_modules_learning_rate={full: 1e-4}"]
    full = load_config(base_file, rates).optimizer
    assert (full.learning_rate, full.new_modules_learning_rate) == (2e-5, 1e-4)
    lora = load_config(base_file, [*rates, "model.strategy=lora"]).optimizer
    assert (lora.learning_rate, lora.new_modules_learning_rate) == (5e-4, None)
    assert load_config(base_file, [*rates, "model.strategy=selective"]).optimizer.learning_rate == 2e-5
    # A table of rates may stand in a config that also serves plain Whisper; a rate of its own there does nothing.
    assert load_config(base_file, [*rates, "model.dual_attention=false"]).optimizer.new_modules_learning_rate is None
    assert load_config(base_file, [*rates, "optimizer.learning_rate=7e-6"]).optimizer.learning_rate == 7e-6


def test_the_table_names_every_part_and_its_share() -> None:
    text = parameter_table(list(parts_of("small", strategy="frozen_encoder").values()))
    counted = by_hand("small")
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert set(lines) == {"", "together", *IN_ORDER} - {"adapters", "wider feed-forward"}
    assert lines["encoder layers"].split()[-3:] == [f"{counted['encoder layers']:,}", "0", "frozen"]
    assert lines["gates"].split()[-3:] == [f"{counted['gates']:,}", f"{counted['gates']:,}", "100.00%"]
    trained = sum(counted[name] for name in DECODER | NEW)
    whole = sum(value for name, value in counted.items() if name != "adapters")
    assert lines["together"].split()[1:] == [f"{whole:,}", f"{trained:,}", f"{trained / whole:.2%}"]


def test_the_page_says_what_is_trained() -> None:
    page = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    table = page[page.index("| `model.strategy`") :].split("\n\n")[0]
    rows = {line.split("`")[1]: line.split("|")[-2].strip() for line in table.splitlines()[2:] if line}
    assert rows.keys() == STRATEGIES.keys()
    for strategy, shown in rows.items():
        trained = []
        for dual in (False, True):
            if dual or strategy != "frozen_primary":
                parts = parts_of("small", strategy=strategy, dual_attention=dual).values()
                trained.append(f"{sum(part.trained for part in parts) / 1e6:.1f} M")
            else:
                trained.append("–")
        assert shown == " / ".join(trained)


# Runs


def run_values(tiny_values: dict[str, Any], folder: Path, padding: str | None = None) -> dict[str, Any]:
    """The tiny config, begun from a checkpoint: plain Whisper, or a dual-attention one."""
    base = save_checkpoint(folder / "base", padding=padding, positions=100)
    own = {"model": {"checkpoint": str(base)}, "output_dir": str(folder / "run"), "optimizer": {"learning_rate": 1e-2}}
    return tiny_values | own


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return open_model(str(folder)).state_dict()


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "full"])
def test_a_run_changes_what_it_trains_and_nothing_else(
    strategy: str, tiny_values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of whatever strategy, what comes out opens as a model, and its weights are compared with the base's."""
    values = run_values(tiny_values, tmp_path, padding="clip")
    values["model"]["strategy"] = strategy
    values["training"] = values["training"] | {"steps": 3}
    config = RunConfig.model_validate(values)
    summary = train(config)
    before, after = weights_of(tmp_path / "base"), weights_of(tmp_path / "run" / "final")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    new = {name for name in before if ".secondary_attn" in name or ".gate." in name}
    adapted = {name for name in before if name.endswith(("q_proj.weight", "v_proj.weight"))} - new
    if strategy == "selective":
        top = default_top_layers(open_model(str(tmp_path / "base")))
        stacks = zip(("encoder", "decoder"), top, strict=True)
        layers = tuple(f"model.{stack}.layers.{2 - 1 - i}." for stack, number in stacks for i in range(number))
        assert changed == new | {name for name in before if name.startswith(layers)}
    elif STRATEGIES[strategy].has_adapters:
        assert changed == new | adapted
    else:
        assert changed == {name for name in before if part_of(name) in TRAINED[strategy] | NEW}
    assert summary["strategy"] == strategy
    assert summary["parameters"] > summary["trainable_parameters"] > 0
    assert "frozen" in capsys.readouterr().out


@pytest.mark.parametrize("strategy", ["full", "frozen_encoder", "frozen_decoder", "selective", "lora"])
def test_without_second_attentions_it_is_plain_whisper(
    strategy: str, tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    values = run_values(tiny_values, tmp_path)
    values["model"] |= {"strategy": strategy, "dual_attention": False}
    summary = train(RunConfig.model_validate(values | {"training": values["training"] | {"steps": 2}}))
    after = weights_of(tmp_path / "run" / "best")
    assert after.keys() == weights_of(tmp_path / "base").keys()
    assert not summary["dual_attention"]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["gradient_norm"] > 0


def test_the_first_stage_starts_the_second(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    """Plain Whisper in full, LoRA on it, lifted with the primary frozen, LoRA beside second attentions, everything."""
    values = run_values(tiny_values, tmp_path)
    stages = [
        {"strategy": "full", "dual_attention": False},
        {"strategy": "lora", "dual_attention": False},
        {"strategy": "frozen_primary"},
        {"strategy": "lora"},
        {"strategy": "full"},
    ]
    checkpoint = tmp_path / "base"
    for number, stage in enumerate(stages):
        folder = tmp_path / f"stage{number}"
        settings = {
            "model": {"checkpoint": str(checkpoint), **stage},
            "output_dir": str(folder),
            "training": values["training"] | {"steps": 2},
        }
        train(RunConfig.model_validate(values | settings))
        before, after = weights_of(checkpoint), weights_of(folder / "final")
        if number == 2:  # what the adapter learned is in the merged weights that the second stage froze
            assert all(torch.equal(before[name], after[name]) for name in before)
            assert len(after) > len(before)
        checkpoint = folder / "final"


def test_a_full_first_stage_is_lifted(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    values = run_values(tiny_values, tmp_path)
    values["training"] = values["training"] | {"steps": 1}
    values["data"] = values["data"] | {"validation": None}
    train(RunConfig.model_validate(values | {"model": values["model"] | {"dual_attention": False}, "optimizer": {}}))
    second = {"model": {"checkpoint": str(tmp_path / "run" / "final")}, "output_dir": str(tmp_path / "second")}
    summary = train(RunConfig.model_validate(values | second | {"optimizer": {}}))
    assert summary["dual_attention"]
    assert any(".secondary_attn" in name for name in weights_of(tmp_path / "second" / "final"))


def test_a_plan_refuses_to_leave_second_attentions_out(base_file: Path, tmp_path: Path) -> None:
    dual = save_checkpoint(tmp_path / "dual", padding="clip")
    config = load_config(base_file, [f"model.checkpoint={dual}", "model.dual_attention=false"])
    with pytest.raises(ConfigError, match=r"model\.dual_attention is false.*would be left out"):
        planned_model(config)
