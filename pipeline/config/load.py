"""Reads params.yaml over its base and over archetypes.yaml, applies ``--set``, and names the line of each error."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.config.errors import ParamsError
from pipeline.config.known_keys import all_keys, known_keys
from pipeline.config.params import Params
from pipeline.config.redaction import redact_setting, redact_text
from pipeline.config.yaml_text import LOADER, MAX_BYTES, compose_yaml, construct_yaml

DEFAULT = Path("params.yaml")
ARCHETYPES = Path(__file__).with_name("archetypes.yaml")
"""Names and playbooks: the defaults below every params file."""
Key = tuple[str, ...]
TABLE_LOCATIONS = ("path", "table", "query", "sql")
"""Keys for the location of a table, which has exactly one of them; `sql` comes with `uri`."""
NAMED_LISTS: dict[Key, str] = {("naming", "archetypes"): "id", ("naming", "traits"): "figure"}
"""Lists whose entries are addressed by name -> the key that holds the name."""
OPTIONAL_ENTRIES: tuple[Key, ...] = (("cards", "occasions"), ("audiences",))
"""Sections from which null drops an entry and ``{}`` drops all. In any other section, ``{}`` changes nothing."""
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
PRIVATE: Key = ("source", "exclude")
"""Section whose values no message shows, as they may be ids of customers."""
UNQUOTED = {
    bool: ("true or false, which YAML also reads in yes, no, on and off", '"yes"'),
    int | float: ("the number {}", '"{}"'),
    date: ("the date {}", '"{}"'),
}
"""Type that YAML reads an unquoted text as -> its description, and the text in quotes."""


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Read params.yaml and apply ``section.key=value`` overrides.

    A params file with ``base: other.yaml`` holds only what differs from that file. Names and playbooks that no file
    sets are those of `ARCHETYPES`.

    Raises
    ------
    ParamsError
        The file is missing or is not YAML; a key is unknown or repeated; a value has the wrong type or is out of
        bounds. The message names the ``--set``, or the file and the line, and what was expected.
    """
    values, sources = _read_values(path)
    overridden = {override.partition("=")[0] for override in overrides}
    sources |= {_apply(values, override, overridden): f"--set {_redacted(override)}" for override in overrides}
    called_with = [*(["--params", str(path)] if path != DEFAULT else [])]
    called_with += [word for override in overrides for word in ("--set", override)]
    return _validated(values | {"folder": path.resolve().parent, "called_with": called_with}, path, sources)


def _read_values(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], dict[Key, str]]:
    """The file's values, merged over those of its base and of `ARCHETYPES`; and the file and line of each key."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8")
    except FileNotFoundError:
        where = f"`base` of {above[-1].name} names it" if above else "name yours with --params FILE"
        raise ParamsError(f"{path}: expected a params file, found none; {where}.") from None
    except (OSError, ValueError) as error:
        raise ParamsError(f"{path}: expected a readable params file in UTF-8. {error}") from None
    try:
        node = compose_yaml(text)
        lines = dict(_key_lines(node, path)) if isinstance(node, yaml.MappingNode) else None
        values = construct_yaml(node)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: expected YAML. {error}") from None
    except ValueError as error:
        line = _impossible_date_line(node) if node else 1
        expected = "expected a date that exists, such as 2025-11-01, or a number in digits"
        raise ParamsError(f"{path}, line {line}: {expected}. {error}.") from None
    if lines is None:
        raise ParamsError(f"{path}: expected keys and values, as in the params.yaml that comes with Kindred.")
    sources = {key: f"{path}, line {line}" for key, line in lines.items()}
    base = values.pop("base", None)
    if base is None:
        return _merged(yaml.load(ARCHETYPES.read_text(encoding="utf-8"), Loader=LOADER), values), sources
    chain = (*above, path.resolve())
    if (path.parent / str(base)).resolve() in chain:
        raise ParamsError(f"{path}, line {lines[('base',)]}: expected another file as `base`; {base} leads back here.")
    below, base_sources = _read_values(path.parent / str(base), chain)
    return _merged(below, values), base_sources | sources


def _merged(below: dict[str, Any], above: dict[str, Any], at: Key = ()) -> dict[str, Any]:
    """``above`` over ``below``, section by section.

    Where ``above`` moves a table to another of `TABLE_LOCATIONS`, its ``columns`` and ``event_types`` replace those
    below, and the table's other keys stay. A section over a list of `NAMED_LISTS` changes its entries by name.
    """
    merged = dict(below)
    is_moved_table = any(above.get(key) is not None for key in TABLE_LOCATIONS)
    for key, value in above.items():
        place, current = (*at, key), below.get(key)
        if isinstance(value, dict) and isinstance(current, list) and place in NAMED_LISTS:
            merged[key] = _merged_entries(current, value, place)
        elif value is None and key in below and (at in OPTIONAL_ENTRIES or _is_conditions(at)):
            del merged[key]
        elif isinstance(value, dict) and isinstance(current, dict) and not is_moved_table:
            merged[key] = _merged(current, value, place) if value or place not in OPTIONAL_ENTRIES else {}
        else:
            merged[key] = value
    if is_moved_table:
        merged |= {key: above.get(key) for key in TABLE_LOCATIONS}
        merged["uri"] = above.get("uri", below.get("uri") if merged["sql"] is not None else None)
    return merged


def _merged_entries(entries: list[Any], changes: dict[str, Any], at: Key) -> list[Any]:
    """The list at ``at`` with its entries changed by name: null drops an entry, an unknown name adds one."""
    merged = list(entries)
    for name, change in changes.items():
        index = _index_of(merged, str(name), at)
        if index is None:
            merged.append({NAMED_LISTS[at]: name, **change} if isinstance(change, dict) else {NAMED_LISTS[at]: name})
        elif change is None:
            del merged[index]
        else:
            is_section = isinstance(change, dict) and isinstance(merged[index], dict)
            merged[index] = _merged(merged[index], change, (*at, name)) if is_section else change
    return merged


def _is_conditions(at: Key) -> bool:
    """Whether ``at`` is an archetype's ``when`` or an audience's ``where``, from which null drops a condition."""
    return (*at[:2], *at[3:]) == ("naming", "archetypes", "when") or (*at[:1], *at[2:]) == ("audiences", "where")


def _index_of(entries: list[Any], name: str, at: Key) -> int | None:
    """Where the list at ``at`` has the entry ``name``: an index, or in `NAMED_LISTS` also a name."""
    if name.isdigit() and int(name) < len(entries):
        return int(name)
    names = [entry.get(NAMED_LISTS.get(at)) if isinstance(entry, dict) else None for entry in entries]
    return names.index(name) if name in names else None


def _with_names(at: Key, values: dict[str, Any]) -> Key:
    """``at`` with the names of entries of `NAMED_LISTS` instead of their indices."""
    for key, name_key in NAMED_LISTS.items():
        if len(at) > len(key) and at[: len(key)] == key and at[len(key)].isdigit():
            entry = dict(enumerate(values[key[0]][key[1]])).get(int(at[len(key)]))
            name = entry.get(name_key) if isinstance(entry, dict) else None
            return (*key, name, *at[len(key) + 1 :]) if isinstance(name, str) else at
    return at


def _validated(values: dict[str, Any], path: Path, sources: dict[Key, str]) -> Params:
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        problems = [(_with_names(_key_of(problem), values), problem) for problem in error.errors(include_url=False)]
        messages = [_explain(problem, at, path, sources) for at, problem in problems]
        raise ParamsError("\n".join(dict.fromkeys(messages))) from None


def _key_of(problem: Any) -> Key:
    """Where the problem is in the file: without pydantic's marks of a key and of a kind, such as [key]."""
    return tuple(str(part) for part in problem["loc"] if not str(part).startswith("["))


def _archetype_sources() -> dict[Key, str]:
    """The line of each key of `ARCHETYPES`; read only when there is an error to report."""
    node = yaml.compose(ARCHETYPES.read_text(encoding="utf-8"), Loader=LOADER)
    return {key: f"{ARCHETYPES}, line {line}" for key, line in (_key_lines(node, ARCHETYPES) if node else ())}


def _key_lines(node: yaml.Node, path: Path, at: Key = ()) -> Iterator[tuple[Key, int]]:
    """Each key's place in the tree and its line; a repeated key is an error."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ParamsError(f"{path}, line {line}: expected a key, found a list or a section.")
            if key.value in seen:
                name = ".".join((*at, key.value))
                raise ParamsError(
                    f"{path}, line {line}: expected each key once. "
                    f"`{name}` is already in line {seen[key.value]}; delete one of the two."
                )
            seen[key.value] = line
            yield (*at, key.value), line
            yield from _key_lines(value, path, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, entry in enumerate(node.value):
            yield from _key_lines(entry, path, (*at, _entry_name(entry, at) or str(index)))


def _entry_name(entry: yaml.Node, at: Key) -> str | None:
    """Name of an entry in the list at ``at``, if that is one of `NAMED_LISTS`."""
    pairs = entry.value if isinstance(entry, yaml.MappingNode) and at in NAMED_LISTS else []
    return next((str(value.value) for key, value in pairs if key.value == NAMED_LISTS[at]), None)


def _impossible_date_line(node: yaml.Node) -> int:
    """Line of a value that has the form of a date but is not one. YAML's own error does not name the line."""
    if isinstance(node, yaml.MappingNode):
        return max(_impossible_date_line(value) for _, value in node.value) if node.value else 0
    if isinstance(node, yaml.SequenceNode):
        return max(map(_impossible_date_line, node.value), default=0)
    try:
        construct_yaml(node)
    except ValueError:
        return int(node.start_mark.line) + 1
    except yaml.YAMLError:
        return 0
    return 0


def _apply(values: dict[str, Any], override: str, overridden: Collection[str]) -> Key:
    """Set one key of ``values`` and return its place in the tree. ``overridden``: the keys of every ``--set``."""
    key, equals, text = override.partition("=")
    shown = f"--set {_redacted(override)}"
    if not equals or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key):
        raise ParamsError(f"{shown}: expected section.key=value, such as facets.behaviour.n_segments=8.")
    *sections, last = key.split(".")
    place: Any = values
    for depth, section in enumerate(sections):
        place = _child(place, section, at=tuple(sections[:depth]))
        if place is None:
            missing = tuple(sections[: depth + 1])
            raise ParamsError(f"{shown}: there is no section `{'.'.join(missing)}`.{_did_you_mean(missing)}")
    try:
        value = construct_yaml(compose_yaml(text))
    except (yaml.YAMLError, ValueError):
        value = text
    if isinstance(place, list):
        if last.isdigit() and int(last) < len(place):
            place[int(last)] = value
        elif tuple(sections) in NAMED_LISTS and not last.isdigit():
            place[:] = _merged_entries(place, {last: value}, tuple(sections))
        else:
            raise ParamsError(f"{shown}: expected an index from 0 to {len(place) - 1}, as the list has.")
    elif value is None and tuple(sections) in OPTIONAL_ENTRIES and last in place:
        del place[last]
    else:
        place[last] = value
        is_moved_table = last in TABLE_LOCATIONS and value is not None
        others = {*TABLE_LOCATIONS, *(["uri"] if last != "sql" else [])} - {last} if is_moved_table else set()
        for other in others & place.keys():  # as in a file over its base
            if ".".join((*sections, other)) not in overridden:
                place[other] = None
    return _with_names((*sections, last), values)


def _child(place: Any, section: str, *, at: Key) -> Any:
    """The section below ``place``, which is at ``at``; one that is null or left out is created empty."""
    if isinstance(place, list):
        index = _index_of(place, section, at)
        return None if index is None else place[index]
    if isinstance(place, dict) and (section in place or section in known_keys(at)):
        if place.get(section) is None:
            place[section] = {}
        return place[section] if isinstance(place[section], dict | list) else None
    return None


def _redacted(override: str) -> str:
    """An override as messages show it: without secrets.

    Only the key is shown of a list, in which any word may be a password, of what may hold values of `PRIVATE`, and of
    a text for an unknown key.
    """
    key, _, value = override.partition("=")
    at = tuple(key.split("."))
    is_private = at[:2] in (PRIVATE, PRIVATE[:1]) or value.lstrip().startswith("[")
    is_unknown = any((known := known_keys(at[:depth])) and part not in known for depth, part in enumerate(at))
    return key if is_private or (is_unknown and not value.isdigit()) else redact_setting(override)


def _explain(problem: Any, at: Key, path: Path, own: dict[Key, str]) -> str:
    """The message for one problem at ``at``. ``own``: sources of the keys that params files and ``--set`` give."""
    if problem["type"] == "missing":
        source = _override_source(at, own) or own.get(at[:-1]) or str(path)
        return f"{source}: `{'.'.join(at)}` is missing.{_where_to_copy_from(at)}"
    sources, is_private = _archetype_sources() | own, at[:2] == PRIVATE or at[-1:] == ("uri",)
    while at and at not in sources and at[:-1] in sources and problem["type"] != "extra_forbidden":
        at = at[:-1]
    place = _override_source(at, sources) or sources.get(at) or str(path)
    name = ".".join(at) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"{place}: `{name}` is not a key that Kindred knows.{_did_you_mean(at)}"
    got = problem.get("input")
    if problem["type"] == "string_type" and isinstance(got, tuple(UNQUOTED)):
        if is_private:
            return f"{place}: `{name}`: expected text. Put the value in quotes."
        # The text cannot be recovered from the value: YAML reads 01 and 0x1 as 1, and yes as True.
        kind, example = next(words for type_, words in UNQUOTED.items() if isinstance(got, type_))
        message = f"expected text, got {kind.format(got)}. Put the value in quotes, as in {example.format(got)}."
        return f"{place}: `{name}`: {message}"
    message = problem["msg"].removeprefix("Value error, ")
    found = (
        ""
        if is_private or isinstance(got, dict | list)
        else f" Got {got if isinstance(got, date) else redact_text(repr(got))}."
    )
    return f"{place}: `{name}`: {message}.{found}".replace("..", ".").replace("?.", "?")


def _override_source(at: Key, sources: dict[Key, str]) -> str | None:
    """The last ``--set`` of the value at ``at``, of a section around it, or of a key in it."""
    overrides = [key for key, source in sources.items() if source.startswith("--set ")]
    near = [key for key in overrides if key == at[: len(key)] or at == key[: len(at)]]
    return sources[near[-1]] if near else None


def _where_to_copy_from(at: Key) -> str:
    if at[:2] not in _archetype_sources() and at[0] != "moves":
        return " Copy it from the params.yaml that comes with Kindred."
    is_known_entry = at[0] == "moves" or {*at[2:3]} <= _entry_names(at[:2])
    return f"{'' if is_known_entry else _did_you_mean(at[:3])} Copy it from {ARCHETYPES}."


def _entry_names(at: Key) -> set[str]:
    """Names of the entries that `ARCHETYPES` has at ``at``."""
    return {key[len(at)] for key in _archetype_sources() if key[: len(at)] == at and len(key) > len(at)}


def _did_you_mean(at: Key) -> str:
    """The nearest key in the same section, else the nearest in any section."""
    if at in MOVED:
        return f" It is `{MOVED[at]}` now."
    near = difflib.get_close_matches(at[-1], {*known_keys(at[:-1]), *_entry_names(at[:-1])}, n=1)
    if not near:
        anywhere = {key[-1]: ".".join(key) for key in reversed([*all_keys()])}
        near = [anywhere[key] for key in difflib.get_close_matches(at[-1], anywhere, n=1, cutoff=0.8)]
    return f" Did you mean `{near[0]}`?" if near else ""
