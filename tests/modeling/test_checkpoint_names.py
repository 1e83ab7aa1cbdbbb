"""Names of checkpoints that cannot be right are refused before the hub is asked, with what is nearest to them."""

from pathlib import Path

import pytest

from modeling.checkpoints import CheckpointError, check_name, open_processor
from modeling.published import PUBLISHED, is_unpublished, nearest_published, published_shape
from trainer.evaluation.checkpoint import run_config_of
from trainer.export.trained_weights import open_trained
from trainer.transcription.transcriber import Transcriber


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("openai/whisper-tinny", "openai/whisper-tiny"),
        ("openai/whisper-smal", "openai/whisper-small"),
        ("openai/whisper-small-en", "openai/whisper-small.en"),
        ("openai/whisper-turbo", "openai/whisper-large-v3-turbo"),
        ("openai/whisper-large-v3turbo", "openai/whisper-large-v3-turbo"),
        ("openai/wisper-medium", "openai/whisper-medium"),
        ("openai/whisper_base", "openai/whisper-base"),
        ("openai/large-v2", "openai/whisper-large-v2"),
        ("whisper-small", "openai/whisper-small"),
        ("whisper-large-v3", "openai/whisper-large-v3"),
    ],
)
def test_a_name_like_a_published_one(name: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for opens in (check_name, open_processor, Transcriber, run_config_of, lambda name: open_trained(Path(name), print)):
        with pytest.raises(CheckpointError, match=f"did you mean '{meant}'"):
            opens(name)


def test_every_published_checkpoint_has_a_shape_and_passes() -> None:
    assert len(PUBLISHED) == len(set(PUBLISHED)) == 13
    for name in PUBLISHED:
        assert published_shape(name) is not None
        assert nearest_published(name) == name
        check_name(name)


@pytest.mark.parametrize(
    "name", ["team/whisper-small", "team/whisper-tinny", "distil-whisper/x", "OpenAI/whisper-base"]
)
def test_a_hub_name_of_another_owner_is_let_through(name: str) -> None:
    check_name(name)


def test_a_version_that_is_published_later_is_let_through() -> None:
    assert not is_unpublished("openai/whisper-large-v4")
    assert not is_unpublished("openai/whisper-large-v4-turbo")
    assert is_unpublished("openai/whisper-lagre")


def test_a_misspelt_path_with_one_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could be a hub name, but for the runs that are here."""
    monkeypatch.chdir(tmp_path)
    check_name("runs/medum")  # a hub name as good as any
    (tmp_path / "runs" / "medium" / "best").mkdir(parents=True)
    for name in ("runs/medum", "runs/whisper"):
        with pytest.raises(CheckpointError, match=f"'{name}' is neither a folder nor a hub name"):
            check_name(name)
    with pytest.raises(CheckpointError, match=r"\(there is runs/medium\)"):
        check_name("runs/medum")
    monkeypatch.chdir(tmp_path / "runs")
    with pytest.raises(CheckpointError, match=r"\(there is medium/best\)"):
        check_name("medium/bset")
    check_name("medium/best")


def test_a_mirror_of_what_somebody_has_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others of the same owner can still be fetched."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openai" / "whisper-small").mkdir(parents=True)
    (tmp_path / "openai" / "whisper-small" / "config.json").write_text("{}")
    check_name("openai/whisper-medium")
    check_name("openai/whisper-small")
