"""The kit that every page is made with: what it escapes, draws and writes, and that an installed copy has its files."""

import configparser
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests import ROOT
from trainer.pages import formats
from trainer.pages.charts import Axis, Chart, Level, Point, Series
from trainer.pages.page import chart_file, environment, rendered

PACKAGES = ("trainer", "benchmarks", "data", "modeling", "launch")
SKELETON = '{% extends "page.html.j2" %}{% block content %}<p title="{{ text }}">{{ text }}</p>{% endblock %}'


def chart(**changed: object) -> Chart:
    points = [Point(0.0, 1.0), Point(5.0, 3.0, interval=(2.0, 4.0)), Point(10.0, 2.0)]
    series = (Series("<one>", points, 0), Series("two", [Point(5.0, 1.5)], 1, is_marked=False))
    values = {"x": Axis(0.0, 10.0), "y": Axis(0.0, 4.0), "x_title": "updates", "y_title": "GiB"}
    return Chart("<title>", series, **values | changed)  # type: ignore[arg-type]


def test_text_from_outside_is_no_markup_and_hides_nothing() -> None:
    page = environment.from_string(SKELETON).render(text='"><b>\u202e')
    assert '<p title="&#34;&gt;&lt;b&gt;⟨U+202E⟩">&#34;&gt;&lt;b&gt;⟨U+202E⟩</p>' in page
    assert page.startswith("<!doctype html>\n<html") and "default-src 'none'" in page


def test_a_chart_stands_alone_as_a_file() -> None:
    root = ElementTree.fromstring(chart_file(chart(levels=[Level(3.5, "limit"), Level(9.0, "beyond")])))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    text = [found.text for found in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"GiB", "updates", "limit", "<one>", "two", "10", "4"} <= set(text) and "beyond" not in text
    told = [found.text for found in root.iter("{http://www.w3.org/2000/svg}title")]
    assert told == [
        "<one>, 0 updates: 1 GiB",
        "<one>, 5 updates: 3 GiB",
        "<one>, 10 updates: 2 GiB",
        "two, 5 updates: 1.5 GiB",
    ]


def test_points_intervals_and_levels_stand_at_their_values() -> None:
    macros = environment.get_template("charts.html.j2").module
    drawn = str(macros.area(chart(levels=[Level(2.0, colour=3)])))  # type: ignore[attr-defined]
    assert 'points="0.0,750.0 500.0,250.0 1000.0,500.0"' in drawn
    assert '<line class="thin run0" x1="50.00%" x2="50.00%" y1="0.0" y2="100.0"/>' in drawn
    assert '<line class="reference run3" x1="0.00%" x2="100.00%" y1="100.0" y2="100.0"/>' in drawn
    assert drawn.count("<polyline") == 1  # a single point has no line, but a marker
    assert drawn.count("<title>") == 4


def test_an_axis_may_be_turned() -> None:
    axis = Axis(20.0, 0.0)
    assert [axis.place(value) for value in (20.0, 15.0, 0.0)] == [0.0, 0.25, 1.0]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formats.percent(0.1234), "12.3"),
        (formats.percent(-0.1234, 2), "−12.34"),
        (formats.bracketed((-0.01, 0.02), 1, formats.signed), " [−1.0, +2.0]"),
        (formats.bracketed((0.5, 1.25), 2, formats.decimal), " [0.50, 1.25]"),
        (formats.bracketed(None), ""),
        (formats.plain_number(1234.5), "1,234"),
        (formats.plain_number(-0.01234), "−0.0123"),
        (formats.short_number(39_600_000), "39.6 M"),
        (formats.probability(0.0002), "< 0.001"),
        (formats.compared_probability(0.25), "= 0.250"),
        (formats.duration(45), "45 s"),
        (formats.duration(9000), "2.5 h"),
        (formats.counted(1, "clip"), "1 clip"),
        (formats.counted(1234, "clip"), "1,234 clips"),
        (formats.listed(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_numbers_are_written_the_same_everywhere(written: str, expected: str) -> None:
    assert written == expected


def test_an_installed_copy_has_templates_styles_and_scripts() -> None:
    """setup.cfg names patterns relative to a package's folder."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    listed: set[Path] = set()
    for init in (path for room in PACKAGES for path in (ROOT / room).rglob("__init__.py")):
        for pattern in settings["options.package_data"]["*"].split():
            listed |= set(init.parent.glob(pattern))
    files = {path for room in PACKAGES for kind in ("j2", "css", "js") for path in (ROOT / room).rglob(f"*.{kind}")}
    assert len(files) > 15 and files <= listed


def test_no_page_has_a_skeleton_of_its_own() -> None:
    for room in PACKAGES:
        for path in (ROOT / room).rglob("*.py"):
            assert "<!doctype" not in path.read_text(encoding="utf-8").lower(), path


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(Exception, match="undefined"):
        rendered("chart.svg.j2")
