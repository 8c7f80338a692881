"""Reads params.yaml: its base, ``--set``, and errors that name the line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import ValidationError

from pipeline.config.errors import ParamsError, without_passwords
from pipeline.config.params import Params

DEFAULT = Path("params.yaml")
Key = tuple[str, ...]
NOT_GIVEN = ("folder", "called_with")
"""Fields of the parameters that no file gives."""
ONE_OF = ("path", "query")
"""Where a table lies: one of them."""
MOVED: dict[Key, str] = {
    **{
        ("clustering", key): f"facets.behaviour.{key}"
        for key in ("algorithm", "n_segments", "min_events", "block_weights")
    },
    ("clustering", "hdbscan", "noise"): "facets.behaviour.noise",
    ("clustering", "hdbscan", "min_cluster_share"): "facets.behaviour.min_cluster_share",
    ("sweep", "min_cluster_share"): "facets.behaviour.try_min_cluster_share",
    ("sweep", "n_segments"): "facets.behaviour.try_n_segments",
    ("sweep", "block_weights"): "facets.behaviour.try_block_weights",
}
"""Keys of earlier versions, and where they are now."""
FACETS = ("behaviour", "interest")
"""Those of the params.yaml that comes with Kindred; a file may name others."""
UNQUOTED = {
    bool: ("true or false, which YAML also reads in yes, no, on and off", '"yes"'),
    int | float: ("the number {}", '"{}"'),
    date: ("the date {}", '"{}"'),
}
"""What YAML makes of a text without quotes -> what it is called, and the text in quotes."""
# Ten times as fast as the one in Python, which takes a tenth of a second of every command.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Read params.yaml and apply ``section.key=value`` overrides.

    A params file may say ``base: other.yaml`` and then holds only what differs from that file.

    Raises
    ------
    ParamsError
        The file is missing or no YAML; a key is unknown or there twice; a value has the wrong type or is out of
        its bounds. The message names the ``--set``, or the file and the line, and what was expected.
    """
    values, lines = _read_values(path)
    places = {key: f"{path}, line {line}" for key, line in lines.items()}
    beside = {override.partition("=")[0] for override in overrides}
    places |= {_apply(values, override, beside): f"--set {_shown(override)}" for override in overrides}
    called_with = [*(["--params", str(path)] if path != DEFAULT else [])]
    called_with += [word for override in overrides for word in ("--set", override)]
    return _validated(values | {"folder": path.resolve().parent, "called_with": called_with}, path, places)


def _read_values(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], dict[Key, int]]:
    """Keys and values of the file, over those of its base; and the line of each key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        where = f"`base` of {above[-1].name} names it" if above else "name yours with --params FILE"
        raise ParamsError(f"{path}: expected a params file, found none; {where}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: expected a readable params file in UTF-8. {error}") from None
    try:
        node = yaml.compose(text, Loader=LOADER)
        lines = dict(_key_lines(node, path)) if isinstance(node, yaml.MappingNode) else None
        values = yaml.load(text, Loader=LOADER)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: expected YAML. {error}") from None
    except ValueError as error:
        line = _line_of_impossible_date(node) if node else 1
        raise ParamsError(f"{path}, line {line}: expected a date that exists, such as 2025-11-01. {error}.") from None
    if lines is None:
        raise ParamsError(f"{path}: expected keys and values, as in the params.yaml that comes with Kindred.")
    base = values.pop("base", None)
    if base is None:
        return values, lines
    chain = (*above, path.resolve())
    if (path.parent / str(base)).resolve() in chain:
        raise ParamsError(f"{path}, line {lines[('base',)]}: expected another file as `base`; {base} leads back here.")
    below, _ = _read_values(path.parent / str(base), chain)
    return _merged(below, values), lines


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``above`` over ``below``, section by section.

    What a table that lies elsewhere does not say is as in the base; what it says of columns and event types is all.
    """
    merged = dict(below)
    is_elsewhere = any(above.get(key) is not None for key in ONE_OF)
    for key, value in above.items():
        is_section = isinstance(value, dict) and isinstance(below.get(key), dict) and not is_elsewhere
        merged[key] = _merged(below[key], value) if is_section else value
    if is_elsewhere:
        merged |= {key: above.get(key) for key in ONE_OF}
    return merged


def _validated(values: dict[str, Any], path: Path, places: dict[Key, str]) -> Params:
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        told = [_explain(problem, path, places) for problem in error.errors(include_url=False)]
        raise ParamsError("\n".join(dict.fromkeys(told))) from None


def _key_lines(node: yaml.Node, path: Path, at: Key = ()) -> Iterator[tuple[Key, int]]:
    """Each key's place in the tree and its line; a key that stands twice is an error."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                name = ".".join((*at, key.value))
                raise ParamsError(
                    f"{path}, line {line}: expected each key once. "
                    f"`{name}` stands in line {seen[key.value]} already; delete one of the two."
                )
            seen[key.value] = line
            yield (*at, key.value), line
            yield from _key_lines(value, path, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _key_lines(value, path, (*at, str(index)))


def _line_of_impossible_date(node: yaml.Node) -> int:
    """Where a scalar looks like a date and is none; YAML itself does not say."""
    if isinstance(node, yaml.MappingNode):
        return max(_line_of_impossible_date(value) for _, value in node.value) if node.value else 0
    if isinstance(node, yaml.SequenceNode):
        return max(map(_line_of_impossible_date, node.value), default=0)
    try:
        yaml.safe_load(str(node.value))
    except ValueError:
        return int(node.start_mark.line) + 1
    except yaml.YAMLError:
        return 0
    return 0


def _apply(values: dict[str, Any], override: str, beside: Collection[str]) -> Key:
    """Set one key of ``values``; gives its place in the tree. ``beside``: all keys that are set, as they were given."""
    key, equals, text = override.partition("=")
    if not equals or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key):
        raise ParamsError(f"--set {override}: expected section.key=value, such as facets.behaviour.n_segments=8.")
    *sections, last = key.split(".")
    place: Any = values
    for depth, section in enumerate(sections):
        place = _child(place, section, known=_known_keys(tuple(sections[:depth])))
        if place is None:
            missing = tuple(sections[: depth + 1])
            raise ParamsError(f"--set {override}: there is no section `{'.'.join(missing)}`.{_did_you_mean(missing)}")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        value = text
    if isinstance(place, list):
        if not (last.isdigit() and int(last) < len(place)):
            raise ParamsError(f"--set {override}: expected a place in a list of {len(place)}, counted from 0.")
        place[int(last)] = value
    else:
        place[last] = value
        other = next((one for one in ONE_OF if one != last), "") if last in ONE_OF and value is not None else ""
        if other in place and ".".join((*sections, other)) not in beside:
            place[other] = None  # a table that lies elsewhere, as in a file over its base
    return (*sections, last)


def _child(place: Any, section: str, *, known: list[str]) -> Any:
    """The section below ``place``; one that is null or left out, such as source.categories, is opened."""
    if isinstance(place, list) and section.isdigit() and int(section) < len(place):
        return place[int(section)]
    if isinstance(place, dict) and (section in place or section in known):
        if place.get(section) is None:
            place[section] = {}
        return place[section] if isinstance(place[section], dict | list) else None
    return None


def _shown(override: str) -> str:
    """An override for a message: of a list, in which any word may be a password, the key alone."""
    key, _, value = override.partition("=")
    return key if value.lstrip().startswith("[") else without_passwords(override)


def _explain(problem: Any, path: Path, places: dict[Key, str]) -> str:
    at = tuple(str(part) for part in problem["loc"] if part != "[key]")
    while at and at not in places and at[:-1] in places and problem["type"] not in ("missing", "extra_forbidden"):
        at = at[:-1]
    place = _place(at, places) or str(path)
    name = ".".join(at) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"{place}: `{name}` is no key that Kindred knows.{_did_you_mean(at)}"
    if problem["type"] == "missing":
        return f"{place}: `{name}` is missing. Copy it from the params.yaml that comes with Kindred."
    got = problem.get("input")
    if problem["type"] == "string_type" and isinstance(got, tuple(UNQUOTED)):
        # Taken for its text it could be another: 01 and 0x1 are read as 1, and yes as True.
        kind, example = next(told for one, told in UNQUOTED.items() if isinstance(got, one))
        told = f"expected text, got {kind.format(got)}. Write what stands there in quotes, as in {example.format(got)}."
        return f"{place}: `{name}`: {told}"
    message = problem["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(got, dict | list) else f" Got {got if isinstance(got, date) else repr(got)}."
    return f"{place}: `{name}`: {message}.{shown}".replace("..", ".")


def _place(at: Key, places: dict[Key, str]) -> str | None:
    """Where the value at ``at`` was given: by a ``--set`` of it, of what holds it or of what it holds, or in a line."""
    overrides = [key for key, place in places.items() if place.startswith("--set ")]
    near = [key for key in overrides if key == at[: len(key)] or at == key[: len(at)]]
    return places[near[-1]] if near else places.get(at)


def _did_you_mean(at: Key) -> str:
    """The nearest key beside an unknown one, else the nearest anywhere."""
    if at in MOVED:
        return f" It is `{MOVED[at]}` now."
    near = difflib.get_close_matches(at[-1], _known_keys(at[:-1]), n=1)
    if not near:
        anywhere = {key[-1]: ".".join(key) for key in reversed([*_all_keys()])}
        near = [anywhere[one] for one in difflib.get_close_matches(at[-1], anywhere, n=1, cutoff=0.8)]
    return f" Did you mean `{near[0]}`?" if near else ""


def _all_keys(at: Key = ()) -> Iterator[Key]:
    for key in _known_keys(at):
        yield (*at, key)
        yield from _all_keys((*at, key))


def _known_keys(at: Key) -> list[str]:
    model: Any = Params
    for part in at:
        if get_origin(model) is dict:  # such as facets, whose keys are names
            model = _section_in(get_args(model)[1])
            continue
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            return []
        model = _section_in(field.annotation)
    if get_origin(model) is dict and at == ("facets",):
        return [*FACETS]
    return [key for key in getattr(model, "model_fields", {}) if key not in NOT_GIVEN]


def _section_in(annotation: Any) -> Any:
    """The section that a value of this type may be, else the type."""
    return next((one for one in get_args(annotation) if hasattr(one, "model_fields")), annotation)
