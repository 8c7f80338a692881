"""Sentences on who gained and lost customers: segments, lifecycle stages, and segments from training to training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.report.parts.segment import Segment
from pipeline.report.summary import Lineage, Migration
from pipeline.report.texts.wording import SMALLEST_PERCENT, Wording


def segments_headline(segments: Sequence[Segment], words: Wording) -> str:
    """Which segments gained and lost most on balance; empty if that is not known."""
    known = [(segment, segment.retention) for segment in segments if segment.retention]
    flows = {words.name(segment): retention.net_share or 0.0 for segment, retention in known}
    gained, lost = _extremes(flows, SMALLEST_PERCENT)
    if not gained:
        return ""
    days = words("days", count=known[0][1].days)
    ends = {"gain": words.signed(flows[gained]), "loss": words.signed(flows[lost])}
    return words("trend.segments", days=days, gained=gained, lost=lost, **ends)


def stages_headline(migration: Migration, words: Wording) -> str:
    """How many stayed in their lifecycle stage, and which stages gained and lost most, of the moves that are shown."""
    moves = np.array(migration.rows)
    flows = dict(zip(map(words.group, migration.groups), (moves.sum(axis=0) - moves.sum(axis=1)).tolist(), strict=True))
    text = words(
        "migration.headline",
        stayed=words.number(migration.stayed_share, "share"),
        customers=words.whole(migration.customer_count),
        then=words.moment(migration.since),
    )
    gained, lost = _extremes(flows, 1)
    if not gained:
        return text
    ends = {"gain": words.signed(flows[gained], "count"), "loss": words.signed(flows[lost], "count")}
    return f"{text} {words('trend.stages', gained=gained, lost=lost, **ends)}"


def changes_headline(lineage: Lineage, words: Wording) -> str:
    """How many segments of the last training are the same as before, new and gone."""
    verdicts = [row.cells[-1] for row in lineage.rows if row.cells[-1] is not None]
    same = sum(change.verdict == "survived" for change in verdicts)
    gone = sum(not change.is_here for change in verdicts)
    counts = {"same": same, "new": len(verdicts) - same - gone, "gone": gone}
    return words("changes.headline", date=words.moment(lineage.trainings[-2]), **counts)


def _extremes(flows: Mapping[str, float], smallest: float) -> tuple[str, str]:
    """The names with the largest gain and the largest loss; both empty unless both are at least ``smallest``."""
    if not flows:
        return "", ""
    gained, lost = max(flows, key=lambda name: flows[name]), min(flows, key=lambda name: flows[name])
    return (gained, lost) if flows[gained] >= smallest and flows[lost] <= -smallest else ("", "")
