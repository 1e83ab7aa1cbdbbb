"""YAML files and command-line overrides to a :class:`RunConfig`, with messages that name the key at fault."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .reference import inner_model
from .run import RunConfig


class ConfigError(ValueError):
    """A config or an argument that cannot be right; the message names it, its value and what would be right.

    Args:
        found: what is wrong.
        remedy: what to do about it, if that can be said apart; the message is both.
    """

    exit_code = 2

    def __init__(self, found: str, remedy: str = "") -> None:
        super().__init__(f"{found}; {remedy}" if remedy else found)
        self.found, self.remedy = found, remedy


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML where a key that stands twice is an error, and 1e-5 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [
            self.construct_object(key, deep=True)  # type: ignore[no-untyped-call]
            for key, _ in node.value
            if key.tag != "tag:yaml.org,2002:merge"
        ]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{min(twice)!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_UniqueKeyLoader.add_implicit_resolver(  # YAML 1.1 takes 1e-5, without a point, for text
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """A config file as nested dicts, merged over the files that it ``extends``.

    Where ``medium_zero2.yaml`` does not exist, it means ``medium.yaml`` with the values under ``engines.zero2``.

    Raises:
        ConfigError: if a file cannot be read, is no YAML mapping or extends itself.
    """
    values = _layers(path, ())
    values.pop("engines", None)
    return values


def _layers(path: Path, children: tuple[Path, ...]) -> dict[str, Any]:
    """The same with the ``engines`` of all layers; ``children`` are the files that extend this one."""
    if path.resolve() in children:
        raise ConfigError(f"{path} extends itself")
    if not path.exists() and (values := _with_engine(path, children)) is not None:
        return values
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the config {path} is not UTF-8 text") from None
    try:
        values = yaml.load(text, _UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date of no calendar
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold keys and values, not {type(values).__name__}")
    engines = values.get("engines", {})
    if not isinstance(engines, dict) or not all(isinstance(own, dict) for own in engines.values()):
        raise ConfigError(f"{path}: engines must hold names, each with keys and values; did you mean engine?")
    parent = values.pop("extends", None)
    if parent is None:
        return values
    below = path.parent / str(parent)
    children = (*children, path.resolve())
    if not below.exists() and not any(base.exists() for base, _ in _bases(below)):
        raise ConfigError(f"{path}: extends {parent!r}, which is not beside it")
    return merge(_layers(below, children), values)


def _with_engine(path: Path, children: tuple[Path, ...]) -> dict[str, Any] | None:
    """The values of ``medium_zero2.yaml`` from ``medium.yaml``; None where no such file has engines."""
    known: list[str] = []
    for base, engine in _bases(path):
        values = _layers(base, children) if base.exists() else {}
        engines = values.pop("engines", {})
        if engine in engines:
            folder = {"output_dir": f"{values['output_dir']}_{engine}"} if "output_dir" in values else {}
            return merge(values | folder, engines[engine])
        known += [str(base.with_stem(f"{base.stem}_{name}")) for name in engines]
    if not known:
        return None
    near = difflib.get_close_matches(str(path), known, n=1, cutoff=0.5)
    raise ConfigError(f"there is no config {path}; did you mean {(near or known)[0]}?")


def _bases(path: Path) -> Iterator[tuple[Path, str]]:
    """The ways to read a file's name as that of another file and an engine, the longest file name first."""
    words = path.stem.split("_")
    for count in range(len(words) - 1, 0, -1):
        yield path.with_stem("_".join(words[:count])), "_".join(words[count:])


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Values of ``above`` over those of ``below``, mapping by mapping."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Keys with dots as nested mappings, as :func:`flatten` takes them."""
    values: dict[str, Any] = {}
    for key, value in flat.items():
        for name in reversed(key.split(".")):
            value = {name: value}
        values = merge(values, value)
    return values


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """``key.path=value`` from the command line; values are read as YAML."""
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise ConfigError(f"override {override!r} must look like training.steps=1000")
        try:
            value = yaml.load(text, _UniqueKeyLoader) if text else None  # noqa: S506
        except (yaml.YAMLError, ValueError):
            raise ConfigError(f"override {override!r}: the value is not YAML") from None
        values = merge(values, nested({path: value}))
    return values


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The config of a file, overrides applied.

    Raises:
        ConfigError: if the file cannot be read, a key is unknown, a value has the wrong type or fields disagree.
    """
    return validated(RunConfig, apply_overrides(read_yaml(Path(path)), overrides), str(path))


Model = TypeVar("Model", bound=BaseModel)
MOST_TOLD = 10  # mistakes at a time: a file of another kind has nothing but mistakes


def validated(model: type[Model], values: dict[str, Any], named: str) -> Model:
    """Nested values as a model, such as a run's config, a noise suite or a plan.

    Args:
        named: what the values are called in messages, such as the path of their file.

    Raises:
        ConfigError: with up to ten mistakes at once.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = list(dict.fromkeys(describe(problem, model) for problem in error.errors()))
        more = f"; and {len(problems) - MOST_TOLD} more" if len(problems) > MOST_TOLD else ""
        raise ConfigError(f"{named}: " + "; ".join(problems[:MOST_TOLD]) + more) from None


SHAPES = {  # what pydantic calls by Python's names
    "tuple_type": "a list, written like [a, b]",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
}


def describe(problem: Any, model: type[BaseModel]) -> str:
    """One of pydantic's findings in a line: the key's path, its value, what would be right."""
    # Tags of unions hold a space, which no key does.
    location = [str(part) for part in problem["loc"] if not re.match(r"tuple\[|function-|.* ", str(part))]
    path = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = fields_at(model, location[:-1])
        match = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        right = f"did you mean {match[0]!r}?" if match else f"known here: {', '.join(known)}"
        return f"unknown key {path}; {right}"
    if problem["type"] == "missing" and location[-1].isdigit():
        return f"{'.'.join(location[:-1])} is too short: value {int(location[-1]) + 1} is missing"
    if problem["type"] == "missing":
        return f"{path} is missing"
    if problem["type"] in SHAPES:
        return f"{path or 'the whole'} is {problem['input']!r}: it must be {SHAPES[problem['type']]}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{path}: {message}" if path else message
    return f"{path} is {problem['input']!r}: {message[0].lower()}{message[1:]}"


def fields_at(model: Any, location: list[str]) -> list[str]:
    """The keys that a model has at a path."""
    for part in location:
        if not part.isdigit():  # which of several sources
            model = inner_model(model.model_fields[part].annotation)
    return list(model.model_fields)


def settings_of(config: RunConfig) -> dict[str, Any]:
    """The resolved config as one mapping: values as YAML holds them, by keys joined by dots."""
    return flatten(config.model_dump(mode="json"))


def dump_config(config: RunConfig) -> str:
    """The resolved config as YAML that :func:`load_config` reads back to the same."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
