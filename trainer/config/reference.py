"""docs/config.md from the config's own models: `python -m trainer.config.reference > docs/config.md`."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .run import RunConfig

HEAD = """# Every key of a config

Written by `python -m trainer.config.reference`. On the command line a key is given by its path:
`training.batch_size=4`. A file may begin from another with `extends: other.yaml`; its own values replace the other's.
`engines` holds values by name: if `other_zero2.yaml` does not exist, it means `other.yaml` with those of `zero2`.
"""
EXPERIMENTAL = (
    "Variants of the decoder that one experiment needed, [what it found](noise.md). They stay, so that its checkpoints "
    "open; nothing recommends them."
)


def sections(
    model: type[BaseModel], path: str = "", seen: set[type[BaseModel]] | None = None
) -> Iterator[tuple[str, type[BaseModel]]]:
    """A model and those within it, with their paths; a model that stands twice, or is in ``seen``, comes once."""
    yield path, model
    seen = set() if seen is None else seen
    for name, field in model.model_fields.items():
        inner = inner_model(field.annotation)
        if inner is not None and inner not in seen:
            seen.add(inner)
            yield from sections(inner, f"{path}.{name}".lstrip("."), seen)


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation holds, alone or beside other types."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(inner_model, getattr(annotation, "__args__", ()))), None)


def kind(annotation: Any) -> str:
    """A type as a reader of YAML would name it."""
    if isinstance(annotation, type):
        return "section" if issubclass(annotation, BaseModel) else annotation.__name__
    if str(annotation).startswith("typing.Annotated"):
        return kind(annotation.__origin__)
    parts = [part for part in getattr(annotation, "__args__", ()) if part is not type(None)]
    if str(annotation).startswith("typing.Literal"):
        return ", ".join(f"`{part}`" for part in parts)
    if str(annotation).startswith(("tuple", "dict")):
        return "mapping" if str(annotation).startswith("dict") else "list"
    return " or ".join(dict.fromkeys(kind(part) for part in parts))


def table(fields: Mapping[str, FieldInfo]) -> list[str]:
    """Lines of a table of keys, and an empty line."""
    lines = ["| key | type | default | |", "|---|---|---|---|"]
    for name, field in fields.items():
        default: Any = "" if inner_model(field.annotation) else field.default
        shown = "" if default in (None, "") else f"`{default}`"
        if field.default is PydanticUndefined:
            shown = "required"
        description = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | {kind(field.annotation)} | {shown} | {description} |")
    return [*lines, ""]


def reference() -> str:
    """The whole page."""
    lines = [HEAD]
    for path, model in sections(RunConfig):
        summary = " ".join((model.__doc__ or "").replace(":mod:", "").replace("``", "`").split())
        lines += [f"## {path or 'The top level'}", "", summary, ""]
        usual = {name: field for name, field in model.model_fields.items() if not field.json_schema_extra}
        lines += table(usual)
        if experimental := {name: field for name, field in model.model_fields.items() if name not in usual}:
            lines += [f"### Experimental keys of {path}", "", EXPERIMENTAL, "", *table(experimental)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(reference(), end="")
