"""The audiences that were written, and what their campaigns brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from models.campaign_effect import CampaignEffect, GroupEffect
from pipeline.audiences.build import HELD_OUT, SEND
from pipeline.audiences.effect import FACETS, MeasuredEffect, effect_command, kept_effect
from pipeline.audiences.storage import stored_audiences
from pipeline.config.params import Params
from pipeline.page.audience_form import query_text

VERDICTS = {"send": "send", "do not send": "skip", "not clear": "open"}
"""Verdict -> key of its texts."""


@dataclass(frozen=True)
class Advice:
    """Whom to send next time, of one facet.

    Attributes
    ----------
    column : str
        Of the scores.
    names : mapping
        Key of a verdict -> segments with their query of the audience builder; lacks verdicts of no segment.
    shown : sequence of GroupEffect
        Segments with figures.
    hidden_count : int
        Segments with too few customers or buyers.
    """

    column: str
    names: Mapping[str, Sequence[tuple[str, str]]]
    shown: Sequence[GroupEffect]
    hidden_count: int


@dataclass(frozen=True)
class Campaign:
    """An audience that was written.

    Attributes
    ----------
    measure : str
        The command that measures its effect; empty if nobody was held out.
    effect : MeasuredEffect or None
        As it was measured last.
    """

    name: str
    as_of: datetime
    sent_count: int
    held_out_count: int
    measure: str
    effect: MeasuredEffect | None
    advice: Sequence[Advice]


def campaigns(params: Params) -> list[Campaign]:
    """Every audience in the outputs folder, the newest first."""
    outputs: Path = params.path(params.outputs.folder)
    found = []
    for stored in stored_audiences(outputs):
        groups = stored.table(["group"])["group"].value_counts()
        held_out_count = int(groups.get(HELD_OUT, 0))
        effect = kept_effect(stored)
        found.append(
            Campaign(
                stored.name,
                stored.as_of,
                int(groups.get(SEND, 0)),
                held_out_count,
                effect_command(params, stored.name, stored.as_of) if held_out_count else "",
                effect,
                [_advice(effect, column) for column in FACETS if column in effect.by_facet] if effect else [],
            )
        )
    return sorted(found, key=lambda campaign: campaign.as_of, reverse=True)


def _advice(effect: MeasuredEffect, column: str) -> Advice:
    measured: CampaignEffect = effect.by_facet[column]
    shown = [group for group in measured.segments if group.effect(effect.decided_by)]
    names = {
        key: [
            (str(group.segment), query_text({column: [str(group.segment)]}))
            for group in shown
            if group.verdict == verdict
        ]
        for verdict, key in VERDICTS.items()
    }
    return Advice(
        column, {key: listed for key, listed in names.items() if listed}, shown, len(measured.segments) - len(shown)
    )
