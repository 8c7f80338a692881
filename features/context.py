"""When and through which channel customers come."""

from __future__ import annotations

from collections.abc import Sequence

import ibis.expr.types as ir

from features.events import ObservationWindow
from features.occasions import PARTS_OF_DAY, local_time

CHANNEL_PREFIX = "channel: "


def visit_context(sessions: ir.Table, *, channels: Sequence[str], timezone: str, window: ObservationWindow) -> ir.Table:
    """Shares of each customer's visits by local time in ``timezone`` and by channel.

       sessions (customer_id, started_at, channel)
    -> context (customer_id, weekend_share, <part>_share..., "channel: <name>"...)     one row per visiting customer
    """
    visits = sessions.mutate(at=local_time(sessions.started_at, timezone=timezone, window=window))
    hour = visits.at.hour()
    total = visits.count().cast("float64")

    def share(condition: ir.BooleanValue) -> ir.FloatingScalar:
        return visits.count(where=condition).cast("float64") / total

    parts = {f"{part}_share": share((hour >= a) & (hour < b)) for part, (a, b) in PARTS_OF_DAY.items()}
    return visits.group_by("customer_id").aggregate(
        weekend_share=share(visits.at.day_of_week.index() >= 5),
        **parts,
        **{CHANNEL_PREFIX + channel: share(visits.channel == channel) for channel in channels},
    )
