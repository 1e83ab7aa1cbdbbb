"""Tables fit the terminal, and what may be copied out of them is never cut."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

import launch.train
from data.terminal import print_table, speed
from tests.end_to_end import run
from trainer.checks import Finding
from trainer.doctor.report import print_table as print_findings

PATH = "/data/recordings/" + "/".join(["a_folder_with_a_long_name"] * 5)
SENTENCE = "an explanation of many words, which may be broken between any two of them without any harm to it"


def printed(*arguments: object, width: int, **more: object) -> list[str]:
    file = io.StringIO()
    print_table(*arguments, console=Console(file=file, width=width, highlight=False), **more)  # type: ignore[arg-type]
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_only_a_path_is_longer_than_the_terminal(width: int) -> None:
    rows = [("model", PATH), ("what it means", SENTENCE), ("steps", "1,000")]
    lines = printed(("plan", ""), rows, width=width)
    longer = [line for line in lines if len(line) > width]
    assert longer == ([] if width > len(PATH) + 20 else [f"(1) {PATH}"])
    assert any(PATH in line for line in lines)
    text = " ".join(word for line in lines for word in line.replace("│", " ").split())
    assert "1,000" in text and all(word in text for word in SENTENCE.split())


def test_a_path_in_the_head_of_a_column() -> None:
    lines = printed(("", PATH, "plain"), [("word error rate", "12.3 %", "23.4 %")], width=80)
    assert "(1)" in lines[1] and lines[-1] == f"(1) {PATH}"


def test_too_many_columns_become_lines() -> None:
    columns = ("condition", *(f"checkpoint_{number}" for number in range(6)))
    rows = [("clean", *(f"{number}.0 [1.0,2.0]" for number in range(6)))]
    lines = printed(columns, rows, frozenset(range(1, 7)), "Word error rate, %", width=40)
    assert lines[0] == "Word error rate, %" and "  checkpoint_5: 5.0 [1.0,2.0]" in lines
    assert all(len(line) <= 40 for line in lines)


def test_brackets_are_no_markup_and_styles_stay() -> None:
    lines = printed(("a", "b"), [("[red]x[/red]", Text("y", "bold"))], width=40)
    assert any("[red]x[/red]" in line and "y" in line for line in lines)


def test_a_table_as_wide_as_it_must_be() -> None:
    assert {len(line) for line in printed(("a", "b"), [("1", "2")], width=80)} == {9}


def test_the_plan_fits_where_nothing_says_how_wide_it_is(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (None, 50):
        if width is not None:
            monkeypatch.setenv("COLUMNS", str(width))
        lines = run(launch.train.main, "--config", tiny_config, "--check").output.splitlines()
        table = [line for line in lines if line[:1] in "┏┃┡│└"]
        assert len(table) > 12 and max(map(len, table)) <= (width or 80)


def test_the_doctor_cuts_no_path(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([Finding("output_dir", "note", f"{PATH} is on a disk that is nearly full", "")], None)
    assert f"(1) {PATH}\n" in capsys.readouterr().out


def test_a_slow_speed_is_told_with_its_digits() -> None:
    assert [speed(rate) for rate in (0.0, 0.1312, 3.26, 12.4, 1234.5)] == ["0", "0.13", "3.3", "12", "1,234"]
