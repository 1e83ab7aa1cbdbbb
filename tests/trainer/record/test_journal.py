"""What a run writes while it goes, and what is taken out of it when a run goes on from an earlier step."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from data.utterance import Skipped
from trainer.record.journal import Journal, ProgressLine, drop_after, whole_rows


def open_journal(folder: Path, from_step: int = 0, rank: int = 0, record_batches: bool = True) -> Journal:
    return Journal(
        folder, is_main=rank == 0, rank=rank, total_steps=10, from_step=from_step, record_batches=record_batches
    )


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write_steps(folder: Path, steps: range, from_step: int = 0) -> None:
    journal = open_journal(folder, from_step)
    for step in steps:
        journal.batch(step, [[f"u{step}"]])
        journal.write(step, "train", {"loss": 10.0 - step})
    journal.close()


def test_a_resumed_run_has_every_step_once(tmp_path: Path) -> None:
    write_steps(tmp_path, range(1, 7))
    write_steps(tmp_path, range(5, 9), from_step=4)
    for name in ("metrics.jsonl", "batches_rank0.jsonl"):
        assert [row["step"] for row in lines(tmp_path / name)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    "half", ['{"step": 3, "ids": [["u', '{"step": 3', "{", '{"step": 3, "ids": [["ə'.encode()[:-1], b"\0\0\0"]
)
def test_a_line_cut_off_by_a_kill_goes(tmp_path: Path, half: str | bytes) -> None:
    path = tmp_path / "batches_rank0.jsonl"
    whole = [{"step": 1, "ids": [["ə1"]]}, {"step": 2, "ids": [["ə2"]]}]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in whole).encode()
    path.write_bytes(text + (half if isinstance(half, bytes) else half.encode()))
    drop_after(path, 5)
    assert path.read_bytes() == text


def test_ids_may_hold_any_character(tmp_path: Path) -> None:
    ids = ["a\u2028b", "c\u0085d", "e\nf", "ğ", '"']
    journal = open_journal(tmp_path)
    journal.batch(1, [ids])
    open_journal(tmp_path, from_step=1)
    assert lines(tmp_path / "batches_rank0.jsonl") == [{"step": 1, "ids": [ids]}]


def test_nothing_to_drop(tmp_path: Path) -> None:
    drop_after(tmp_path / "metrics.jsonl", 3)
    assert not list(tmp_path.iterdir())


def test_whole_rows_are_objects(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n\n5\nnull\n{"a": 2}')
    assert whole_rows(tmp_path / "rows.jsonl") == [{"a": 1}, {"a": 2}]


def test_a_row_is_quarantined_once_over_epochs_and_starts(tmp_path: Path) -> None:
    broken = Skipped("u1", "no samples")
    journal = open_journal(tmp_path)
    journal.quarantine([broken, Skipped("u2", "no samples")])
    journal.quarantine([broken])
    open_journal(tmp_path).quarantine([broken, Skipped("u1", "another reason")])
    rows = lines(tmp_path / "quarantine.jsonl")
    assert [(row["id"], row["reason"]) for row in rows] == [
        ("u1", "no samples"),
        ("u2", "no samples"),
        ("u1", "another reason"),
    ]


def test_every_rank_quarantines_and_records_but_only_the_first_writes_metrics(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, rank=1)
    journal.write(1, "train", {"loss": 1.0})
    journal.say("nothing")
    journal.batch(1, [["u1"], []])
    journal.quarantine([Skipped("u2", "no samples")])
    journal.show(1, {"loss": 1.0})
    journal.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batches_rank1.jsonl", "quarantine.jsonl"]
    assert lines(tmp_path / "batches_rank1.jsonl") == [{"step": 1, "ids": [["u1"], []]}]


def test_batches_are_recorded_on_request(tmp_path: Path) -> None:
    open_journal(tmp_path, record_batches=False).batch(1, [["u1"]])
    assert not list(tmp_path.iterdir())


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_holds_the_scalars(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.write(3, "train", {"loss": 1.5, "epoch": 0})
    journal.write(3, "validation", {"word_error_rate": 0.25, "note": "text"})
    journal.close()
    assert scalars(tmp_path) == {
        "train/loss": [(3, 1.5)],
        "train/epoch": [(3, 0)],
        "validation/word_error_rate": [(3, 0.25)],
    }
    assert lines(tmp_path / "metrics.jsonl") == [
        {"step": 3, "kind": "train", "loss": 1.5, "epoch": 0},
        {"step": 3, "kind": "validation", "word_error_rate": 0.25, "note": "text"},
    ]


def test_tensorboard_too_shows_every_step_once_after_a_resume(tmp_path: Path) -> None:
    write_steps(tmp_path, range(1, 7))
    write_steps(tmp_path, range(5, 9), from_step=4)
    assert [step for step, _ in scalars(tmp_path)["train/loss"]] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_line_for_every_logged_step_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = open_journal(tmp_path)
    journal.show(4, {"loss": 1.23456})
    journal.say("saved [step 4]")
    journal.close()
    shown = capsys.readouterr().out
    assert "step 4/10  loss 1.235" in shown
    assert "saved [step 4]" in shown


def test_a_terminal_s_line_breaks_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bar, in a terminal that is narrower than the path."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    path = "runs/" + "a_folder_with_a_long_name/" * 4
    line = ProgressLine(10, 0)
    assert line.bar is not None
    line.say(f"step 2: saved {path}")
    line.close()
    assert path in terminal.getvalue()
