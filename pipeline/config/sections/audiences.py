"""Sections of params.yaml for audiences: which customers an action is for."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from pipeline.config.sections.source import Table
from pipeline.config.types import Count, Positive, Section

Scalar = bool | float | str


class Bounds(Section):
    """A condition on a number, or on whether a value is known."""

    min: float | None = None
    max: float | None = None
    known: bool | None = None

    @model_validator(mode="after")
    def _can_be_met(self) -> Bounds:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"expected min at most max, got min {self.min:g} and max {self.max:g}")
        if self.min is None and self.max is None and self.known is None:
            raise ValueError("expected min, max or known")
        if self.known is False and (self.min is not None or self.max is not None):
            raise ValueError("expected either bounds or `known: false`, as an unknown value has no bounds")
        return self


def _kind(value: Any) -> str | None:
    """Which kind of condition a value is, so that only errors of that kind are reported; None: of no kind."""
    if isinstance(value, dict | Bounds):
        return "[bounds]"
    if isinstance(value, list):
        return "[values]" if all(isinstance(one, Scalar | int) for one in value) else None
    return "[value]" if isinstance(value, Scalar | int) else None


Condition = Annotated[
    Annotated[Scalar, Tag("[value]")] | Annotated[list[Scalar], Tag("[values]")] | Annotated[Bounds, Tag("[bounds]")],
    Discriminator(
        _kind,
        custom_error_type="condition",
        custom_error_message="expected a value, a list of values, or bounds such as {min: 1}",
    ),
]


class Exclusions(Section):
    """Customers that an audience leaves out."""

    ids: str | None = None
    audiences: list[str] = Field(default_factory=list)
    contacted_days: Positive | None = None
    without_consent: bool = False


class AudienceParams(Section):
    """An audience: conditions on columns of the scores, exclusions, an order, a limit and a control group."""

    where: dict[str, Condition]
    exclude: Exclusions = Exclusions()
    order_by: str | None = None
    limit: Count | None = None
    holdout_share: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ContactsTable(Table):
    """Addresses and consent of customers. Kindred reads them for an export and never stores them."""
