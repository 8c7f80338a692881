"""The form of the audience builder: from the query of an address to conditions, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from urllib.parse import urlencode

import yaml

from pipeline.audiences.selection import CATEGORY, Condition
from pipeline.config.sections.audiences import AudienceParams, Bounds

CHOICES = (
    *("segment", "interest_segment", "lifecycle_stage", "temperature", "value_tier"),
    *("next_tier", "journey_events"),
)
"""Columns of which values are ticked."""
FLAGS = ("is_border",)
NUMBERS = (
    *("spend", "expected_spend", "buy_probability", "alive_probability"),
    *("order_count", "days_since_last_purchase"),
)
"""Columns with a lower and an upper bound."""
LIMIT, ORDER = "limit", "order_by"
ENDS = ("min", "max")
FIELDS = {*CHOICES, *FLAGS, CATEGORY, LIMIT, ORDER, *(f"{column}.{end}" for column in NUMBERS for end in ENDS)}
DEFAULT_NAME = "my_audience"


@dataclass(frozen=True)
class Problem:
    """Why a field cannot be used: key of a text, and the column it is about."""

    key: str
    column: str


@dataclass(frozen=True)
class Form:
    """What the form asks for.

    Attributes
    ----------
    values : mapping
        Field -> its texts, as sent; to fill in the form again.
    where : mapping
        The conditions, in the order of the form.
    problems : list of Problem
        Fields that are left out of the conditions.
    """

    values: Mapping[str, Sequence[str]]
    where: Mapping[str, Condition]
    order_by: str | None
    limit: int | None
    problems: Sequence[Problem]

    @property
    def definition(self) -> AudienceParams:
        """As a section of params.yaml."""
        return AudienceParams.model_validate(
            {"where": dict(self.where), "order_by": self.order_by, "limit": self.limit}
        )

    def first(self, field: str) -> str:
        """Text of a field with one value; empty if it was not sent."""
        return next(iter(self.values.get(field, ())), "")

    def has(self, field: str, value: str) -> bool:
        """Whether a value is ticked."""
        return value in self.values.get(field, ())


def read_form(query: Mapping[str, Sequence[str]], columns: Sequence[str]) -> Form:
    """Read the fields that there are columns for; other fields are ignored."""
    where: dict[str, Condition] = {column: list(query[column]) for column in CHOICES if query.get(column)}
    where |= {column: True for column in FLAGS if query.get(column)}
    if category := next(iter(query.get(CATEGORY, ())), "").strip():
        where[CATEGORY] = category
    problems: list[Problem] = []
    for column in NUMBERS:
        if (bounds := _bounds(query, column, problems)) is not None:
            where[column] = bounds
    limit = _number(query, LIMIT, LIMIT, problems)
    if limit is not None and (limit < 1 or limit != int(limit)):
        problems.append(Problem("not_a_count", LIMIT))
        limit = None
    order_by = next(iter(query.get(ORDER, ())), "").strip() or None
    known = {column: condition for column, condition in where.items() if column in (*columns, CATEGORY)}
    if order_by is not None and order_by.removeprefix("-") not in columns:
        order_by = None
    values = {field: texts for field, texts in query.items() if field in FIELDS}
    return Form(values, known, order_by, None if limit is None else int(limit), problems)


def _bounds(query: Mapping[str, Sequence[str]], column: str, problems: list[Problem]) -> Bounds | None:
    low, high = (_number(query, f"{column}.{end}", column, problems) for end in ENDS)
    if low is not None and high is not None and low > high:
        problems.append(Problem("bounds_reversed", column))
        return None
    return None if low is None and high is None else Bounds(min=low, max=high)


def _number(query: Mapping[str, Sequence[str]], field: str, column: str, problems: list[Problem]) -> float | None:
    text = next(iter(query.get(field, ())), "").strip().replace(",", ".")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if isfinite(number):
        return number
    problems.append(Problem("not_a_number", column))
    return None


def query_text(where: Mapping[str, Condition], order_by: str | None = None) -> str:
    """The query of the address at which the form has these conditions."""
    pairs: list[tuple[str, str]] = [] if order_by is None else [(ORDER, order_by)]
    for column, condition in where.items():
        if isinstance(condition, Bounds):
            ends = {"min": condition.min, "max": condition.max}
            pairs += [(f"{column}.{end}", f"{value:g}") for end, value in ends.items() if value is not None]
        elif isinstance(condition, Sequence) and not isinstance(condition, str):
            pairs += [(column, str(value)) for value in condition]
        else:
            pairs.append((column, str(condition)))
    return urlencode(pairs)


def definition_text(definition: AudienceParams, name: str = DEFAULT_NAME) -> str:
    """The audience as lines of params.yaml."""
    section = definition.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    section["where"] = {column: _plain(condition) for column, condition in definition.where.items()}
    return str(yaml.safe_dump({"audiences": {name: section}}, allow_unicode=True, sort_keys=False, width=100))


def _plain(condition: Condition) -> object:
    if isinstance(condition, Bounds):
        return condition.model_dump(exclude_none=True)
    if isinstance(condition, Sequence) and not isinstance(condition, str):
        return list(condition) if len(condition) > 1 else condition[0]
    return condition
