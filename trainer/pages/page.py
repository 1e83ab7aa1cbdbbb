"""Fills templates: a page is one HTML file that requests nothing, with its style and script inside; or Markdown.

The environments escape all text and make invisible characters visible.
Templates of the kit lie in ``templates/``; those of a page lie beside its Python and are named by their path.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from data.inspection.characters import visible

from . import charts, formats

KIT = Path(__file__).parent / "templates"
ROOT = Path(__file__).parents[2]  # of the packages
SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#~"})  # in Markdown
LONGEST_WORD = 24  # letters of a word over a column of numbers; longer ones are broken


def rendered(template: str, /, **values: Any) -> str:
    """A template filled with ``values``.

    Args:
        template: a name in ``templates/``, or a path from the project's root: ``trainer/comparison/page.html.j2``. One
            that ends in ``.md.j2`` gives Markdown.
    """
    kind = markdown_environment if template.endswith(".md.j2") else environment
    return kind.get_template(template).render(**values)


def rendered_report(folder: str, name: str, /, **values: Any) -> dict[str, str]:
    """The contents of ``name.html`` and ``name.md``, from ``page.html.j2`` and ``page.md.j2`` in ``folder``."""
    return {f"{name}.{kind}": rendered(f"{folder}/page.{kind}.j2", **values) for kind in ("html", "md")}


def chart_file(chart: charts.Chart) -> str:
    """A chart as the content of an SVG file with its own style, light and dark."""
    return rendered("chart.svg.j2", chart=chart, width=charts.ALONE_WIDTH)


def source(name: str) -> Markup:
    """The unchanged text of a style or script file, named as templates are."""
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


def harmless(value: Any) -> Any:
    """Applied to every value of a template: makes invisible characters of text visible, leaves markup as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value, len(value))
    return value


def plain(value: Any) -> Any:
    """Applied to every value of a Markdown template: escapes Markdown's special characters in text."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return Markup(visible(value, 4000).translate(SPECIAL))
    return value


environment = Environment(
    loader=FileSystemLoader([KIT, ROOT]),
    autoescape=True,
    finalize=harmless,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.globals |= {"source": source}
environment.filters |= {
    "short": lambda text, longest=160: visible(text, longest),
    "across": lambda share: f"{share:.2%}",
    "pixels": lambda number: f"{number:.1f}",
    "run_class": charts.run_class,
    "shape": charts.shape,
    "percent": formats.percent,
    "signed": formats.signed,
    "bracketed": formats.bracketed,
    "probability": formats.probability,
    "counted": formats.counted,
    "verbatim": lambda text: Markup(visible(text, 4000)),
}
environment.tests |= {"long_worded": lambda text: max(map(len, text.split()), default=0) > LONGEST_WORD}
markdown_environment = environment.overlay(finalize=plain, keep_trailing_newline=True)
