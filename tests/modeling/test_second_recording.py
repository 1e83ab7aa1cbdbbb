"""Checkpoints that hear a second recording: trained further, adapted, merged, exported; what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import launch.export
import launch.train
from modeling.adapters import has_adapter
from modeling.checkpoint_files import Checkpoint, CheckpointError
from modeling.checkpoints import as_plain_whisper, open_model
from tests.end_to_end import run
from tests.support.untrained import save_checkpoint
from trainer.config.reading import dump_config
from trainer.config.run import RunConfig
from trainer.export.model_card import Origin, write_card
from trainer.model.building import build_model, planned_model
from trainer.run import train


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("plain") / "whisper", ("az", "en"), padding=None, positions=100)


@pytest.fixture(scope="module", params=["attention", "joined", "before"])
def hearing(request: pytest.FixtureRequest, plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that hears second recordings by the one way or the other, in one layer of the encoder too."""
    folder = tmp_path_factory.mktemp("hearing") / request.param
    layers = int(request.param != "before")
    asked = {"second_recording": request.param, "second_recording_layers": layers, "encoder_padding": "clip"}
    model = open_model(str(plain), lift=True, dual_attention=request.param == "attention", **asked)
    model.save_pretrained(folder)
    Checkpoint(str(plain)).processor.save_pretrained(folder)
    return folder


def kind_of(folder: Path) -> str:
    return folder.name


def config_of(values: dict[str, Any], **model: Any) -> RunConfig:
    """With data that has second recordings."""
    data = values["data"] | {"train": values["data"]["train"] | {"second": "copy"}, "validation": None}
    return RunConfig.model_validate(values | {"model": model, "optimizer": {}, "data": data})


def both(clips: int = 2) -> torch.Tensor:
    """Stacked features of clips and second recordings, whole windows."""
    return torch.randn(clips, 160, 300, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(both(), decoder_input_ids=torch.arange(10).view(2, 5)).logits


def test_training_goes_on_hearing_both_where_the_config_does_not_say_so(hearing: Path, tiny_values) -> None:
    config = config_of(tiny_values, checkpoint=str(hearing), dual_attention=kind_of(hearing) == "attention")
    for model in (planned_model(config), build_model(config)[0]):
        assert model.config.second_recording == kind_of(hearing)
        assert model.config.second_recording_layers == int(kind_of(hearing) != "before")


def test_a_checkpoint_that_hears_one_learns_to_hear_two(plain: Path, tiny_values, tmp_path: Path) -> None:
    open_model(str(plain), lift=True).save_pretrained(tmp_path / "dual")
    Checkpoint(str(plain)).processor.save_pretrained(tmp_path / "dual")
    config = config_of(tiny_values, checkpoint=str(tmp_path / "dual"), second_recording="attention")
    for model in (planned_model(config), build_model(config)[0]):
        assert model.config.second_recording == "attention"


REFUSED = {
    "attention": [
        (
            {"second_recording": "joined", "dual_attention": False},
            "was trained to hear second recordings by attention: take it out",
        ),
        ({"second_recording_layers": 2}, "was trained with 1: take it out"),
    ],
    "joined": [
        ({"second_recording": "attention"}, "was trained to hear second recordings by joined: take it out"),
        ({}, "reads both recordings with its one attention: set dual_attention to false"),
        ({"second_recording_layers": 2, "dual_attention": False}, "was trained with 1: take it out"),
    ],
    "before": [
        ({"second_recording": "attention"}, "was trained to hear second recordings by before: take it out"),
    ],
}


def test_what_cannot_become_what_is_asked_for_is_told_in_a_line(hearing: Path, tiny_values, tmp_path: Path) -> None:
    for number, (model, told) in enumerate(REFUSED[kind_of(hearing)]):
        path = tmp_path / f"{number}.yaml"
        path.write_text(dump_config(config_of(tiny_values, checkpoint=str(hearing), **model)), encoding="utf-8")
        outcome = run(launch.train.main, "--config", path)
        assert outcome.code == 2 and told in outcome.complaint, outcome.complaint


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"second_recording_layers": 1}, "hears no second recording: set second_recording too"),
        ({"second_recording": "attention", "second_recording_layers": 9}, "is 9; the encoder of .* has 2 layers"),
    ],
)
def test_layers_that_would_do_nothing_or_are_not_there(asked: dict[str, Any], told: str, plain: Path) -> None:
    with pytest.raises(CheckpointError, match=told):
        open_model(str(plain), lift=True, **asked)


def test_second_attentions_that_read_a_middle_layer_hear_no_second_recording(plain: Path, tmp_path: Path) -> None:
    open_model(str(plain), lift=True, secondary_layer=1).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="read encoder layer 1 of the one recording"):
        open_model(str(tmp_path), lift=True, second_recording="attention")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["lora", "qlora"])
def test_an_adapter_hears_both_merged_and_exported(plain: Path, tiny_values, tmp_path: Path, strategy: str) -> None:
    """Trained on a plain Whisper; its base says how it hears."""
    model = {"second_recording": "attention", "second_recording_layers": 1, "strategy": strategy}
    few = {"training": {"steps": 2, "batch_size": 2}, "checkpoints": {}, "evaluation": {}}
    train(config_of(tiny_values | few, **model, checkpoint=str(plain)))
    final = tmp_path / "run" / "final"
    recorded = Checkpoint(str(final)).recorded_base
    assert recorded is not None
    assert (recorded.second_recording, recorded.second_recording_layers) == ("attention", 1)
    merged = open_model(str(final))
    assert not has_adapter(merged) and merged.config.second_recording == "attention"
    deaf = merged.eval()(both()[:, :80], decoder_input_ids=torch.arange(10).view(2, 5)).logits
    assert (logits(merged) - deaf).abs().max() > 1e-3
    outcome = run(launch.export.main, "--checkpoint", final, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.errors
    torch.testing.assert_close(logits(open_model(str(tmp_path / "out"))), logits(merged), atol=1e-4, rtol=1e-4)
    # And once more, from the adapter, under a config that does not say what it hears.
    config = config_of(tiny_values, checkpoint=str(final), strategy="lora")
    again, planned = build_model(config)[0], planned_model(config)
    assert again.config.second_recording == planned.config.second_recording == "attention"
    assert again.adapter_base.second_recording_layers == planned.adapter_base.second_recording_layers == 1


def test_the_card_s_code_gives_both_recordings(hearing: Path) -> None:
    model, processor = open_model(str(hearing)).eval(), Checkpoint(str(hearing)).processor
    model.generation_config.max_length = 6
    write_card(hearing, hearing.name, model, "fp32", Origin())
    _, _, code, _ = (hearing / "README.md").read_text().replace("```python", "```").split("```")[1:5]
    clip, second = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(2)).numpy() * 0.1
    given = {"model": model, "processor": processor, "clip": clip, "second": second, "print": lambda *_: None}
    exec(code, given)
    features = given["features"]
    assert features.shape == (1, 160, 3000)
    assert torch.equal(given["tokens"], model.generate(features))
    alone = model(features[:, :80], decoder_input_ids=given["tokens"]).logits
    assert (model(features, decoder_input_ids=given["tokens"]).logits - alone).abs().max() > 1e-3


def test_as_plain_whisper_it_hears_the_first_alone_and_that_is_told(plain: Path, tmp_path: Path) -> None:
    asked = {"second_recording": "joined", "dual_attention": False}
    model = open_model(str(plain), lift=True, **asked).eval()
    whisper = as_plain_whisper(model, "joined")
    assert "second_recording" not in json.loads(whisper.config.to_json_string())
    ids = torch.arange(10).view(2, 5)
    features = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(1))
    expected = model(features, decoder_input_ids=ids).logits
    torch.testing.assert_close(whisper(features, decoder_input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)
