"""An audience that was written, in words for the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.audiences.build import HELD_OUT, SEND, Audience
from pipeline.audiences.exports import Export
from pipeline.report.terminal import align_columns, counted

MAX_CONDITION_CHARS = 80
MAX_RISE = 1.0
"""Of the share of buyers. Few campaigns do more than double it, so groups that show only more are too small."""


@dataclass(frozen=True)
class WrittenAudience:
    """An audience and its list.

    Attributes
    ----------
    next_command : str
        Measures the effect; empty without a control group.
    has_replaced_other : bool
        Whether a list with other conditions was there before.
    tables : str
        The table of `outputs.tables` that was written; empty if there is none.
    """

    audience: Audience
    path: Path
    next_command: str
    export: Export | None = None
    contacts_notes: list[str] = field(default_factory=list)
    has_replaced_other: bool = False
    tables: str = ""

    def as_text(self) -> str:
        """The funnel, the groups, the effect that they can show, warnings, and the file."""
        audience = self.audience
        before = [None, *(step.customer_count for step in audience.steps)]
        rows = [
            [step.text, f"{step.customer_count:,}", "" if last is None else f"-{last - step.customer_count:,}"]
            for step, last in zip(audience.steps, before, strict=False)
        ]
        groups = {"Send": audience.count(SEND), "Held out": audience.count(HELD_OUT)}
        lines = [
            f"{audience.name}, as of {audience.as_of:%Y-%m-%d %H:%M}",
            *align_columns(rows, right=(1, 2), max_chars=MAX_CONDITION_CHARS),
            "",
            *(f"{name:<16}{counted(count, 'customer')}" for name, count in groups.items()),
            f"Can show        {effect_text(audience)}",
            *(f"Warning         {warning}" for warning in self._warnings()),
            f"List            {self.path}{self._list_text()}",
        ]
        if self.has_replaced_other:
            lines.append(f"Replaced        {self.path}, which was there before with other conditions")
        if self.tables:
            lines.append(f"Table           {self.tables}")
        if self.next_command:
            lines.append(f"Next            {self.next_command}    # what it brought, once that day is there")
        return "\n".join(lines)

    def _list_text(self) -> str:
        if self.export is None:
            return ""
        return f" ({counted(len(self.export.table), 'row')})"

    def _warnings(self) -> list[str]:
        warnings = [*self.contacts_notes]
        if self.audience.unknown_count:
            warnings.append(f"{counted(self.audience.unknown_count, 'id')} to exclude: not in the scores")
        if self.export is not None and self.export.without_address_count:
            warnings.append(
                f"{counted(self.export.without_address_count, 'customer')} without a usable address left out"
            )
        if self.export is not None and self.export.shared_address_count:
            warnings.append(
                f"{counted(self.export.shared_address_count, 'customer')} left out: an earlier one has the same address"
            )
        return warnings


def effect_text(audience: Audience) -> str:
    """The smallest rise in buyers that the control group can show."""
    held_out = audience.count(HELD_OUT)
    if not held_out:
        return "no effect, as nobody is held out; see --holdout and holdout_share"
    if audience.base_rate is None:
        return (
            "not known, as the scores predict no purchases (buy_probability). Train on a longer log, promote the run "
            "and score again"
        )
    if audience.detectable_rise is None:
        return f"no rise at all, as {counted(held_out, 'customer')} held out are too few"
    base, rise = audience.base_rate, audience.detectable_rise
    shown = f"a rise from {base:.1%} to {base + rise:.1%} of customers who buy, or more"
    if rise > MAX_RISE * base:
        return f"no usual effect, as the groups are too small: only {shown}. Hold out more, or send to more customers"
    return shown
