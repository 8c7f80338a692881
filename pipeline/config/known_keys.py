"""The keys that params.yaml may have, from the types of its sections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pipeline.config.params import Params

Key = tuple[str, ...]
NOT_IN_FILES = ("folder", "called_with")
"""Fields of the parameters that are not read from a file."""
FACETS = ("behaviour", "interest")
"""Facets in the params.yaml that comes with Kindred; other names are allowed."""


def all_keys(at: Key = ()) -> Iterator[Key]:
    """All keys below a section, each as its place in the tree."""
    for key in known_keys(at):
        yield (*at, key)
        yield from all_keys((*at, key))


def known_keys(at: Key) -> list[str]:
    """Keys that the section at ``at`` may have; none if its keys are free names."""
    model: Any = Params
    for part in at:
        if get_origin(model) in (dict, list):  # such as facets, whose keys are names
            model = _section_in(get_args(model)[-1])
            continue
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            return []
        model = field.annotation if get_origin(field.annotation) in (dict, list) else _section_in(field.annotation)
    if get_origin(model) is dict and at == ("facets",):
        return [*FACETS]
    return [key for key in getattr(model, "model_fields", {}) if at or key not in NOT_IN_FILES]


def _section_in(annotation: Any) -> Any:
    """The section among the types that ``annotation`` allows, else ``annotation`` itself."""
    return next((type_ for type_ in get_args(annotation) if hasattr(type_, "model_fields")), annotation)
