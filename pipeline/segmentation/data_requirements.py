"""Requires a log long enough to segment; notes how many customers are not clustered, and why."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from features.events import ObservationWindow
from models.disclosure import rounded_count
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of
from pipeline.config.params import Params
from pipeline.ingest.source import Source
from pipeline.profiles.build import Profiles
from pipeline.report.summarise import spend_step
from pipeline.report.terminal import counted
from pipeline.report.texts.wording import wording
from pipeline.segmentation.cluster import clustered


def require_enough(source: Source, profiles: Profiles, params: Params) -> tuple[str, ...]:
    """Notes on a short log; none if it is long enough, or if customers are only grouped by rule.

    Raises
    ------
    UserError
        The log is below `minimum`: `too_little`.
    """
    facet = facets_of(params)[0]
    profile, without_evidence = profiles.table, facet.with_settings(min_evidence=0.0)
    customers, orders = int(clustered(profile, without_evidence).sum()), int(profile.order_count.sum())
    if reason := too_little(source, params, customer_count=customers, order_count=orders):
        raise UserError(reason)
    if facet.settings.algorithm != "rule" and is_short(source, params):
        days = history_days(source, params)
        length = f"{days * 24:,.0f} hours" if days < 2 else f"{days:,.0f} days"
        return (
            f"Short log: {length} from the first event to the last. Segments describe only this period: they cannot "
            "show yet who comes back, who lapses or what customers buy over time. "
            f"{params.minimum.usual_history_days:g} days or more are usual. The model is not made the champion by "
            "itself.",
        )
    return ()


def no_recent_events(source: Source, params: Params) -> str:
    """Why a log whose last event was before the window cannot be segmented, and what to do; empty for others."""
    last = datetime.fromisoformat(source.summary.last_event_at)
    if last >= ObservationWindow(params.as_of, params.history_days).start:
        return ""
    return (
        f"as_of: expected events in the {params.history_days:g} days (history_days) before "
        f"{params.as_of:%Y-%m-%d %H:%M}, found none. The last event was at {last:%Y-%m-%d %H:%M}; choose a date "
        "soon after it."
    )


def too_little(source: Source, params: Params, *, customer_count: int, order_count: int) -> str:
    """What a log lacks of `minimum`, by how much, and what to do; empty if it has enough.

    Parameters
    ----------
    customer_count : int
        Customers with enough events or orders for the first facet.
    order_count : int
        Orders of the window.
    """
    facet, minimum = facets_of(params)[0], params.minimum
    if facet.settings.algorithm == "rule":
        return ""
    requirements = [
        (f"customers with {_least(facet)} or more", "customers", customer_count, minimum.customers),
        ("days from the first event to the last", "history_days", history_days(source, params), minimum.history_days),
        ("orders", "orders", order_count, minimum.orders),
    ]
    short = [
        f"  {what}: {count:,.3g} found, {need:,g} needed (minimum.{key}), {need - count:,.3g} short"
        if isinstance(count, float)
        else f"  {what}: {count:,} found, {need:,} needed (minimum.{key}), {need - count:,} short"
        for what, key, count, need in requirements
        if count < need
    ]
    if not short:
        return ""
    return "\n".join(
        [
            f"expected enough data to distinguish segments in the {params.history_days:g} days before "
            f"{params.as_of:%Y-%m-%d %H:%M}; the log falls short:",
            *short,
            "Give a longer log, or check as_of, history_days and source.event_types. With this log, `kindred "
            f"train --set facets.{facet.name}.algorithm=rule` groups all customers by lifecycle stage. To "
            "segment it anyway, lower the minimum.",
        ]
    )


def is_short(source: Source, params: Params) -> bool:
    """Whether the log is shorter than usual, so that it cannot show who comes back."""
    return history_days(source, params) < params.minimum.usual_history_days


def _least(facet: Facet) -> str:
    """What a customer needs to be clustered, in words."""
    settings = facet.settings
    return counted(settings.min_orders, "order") if settings.min_orders else counted(settings.min_events, "event")


def not_clustered_note(
    facet: Facet, clustered_count: int, customer_count: int, min_group: int = 1, *, window: str = ""
) -> str:
    """How many customers are not clustered, and the setting that clusters more; empty if all are.

    Parameters
    ----------
    min_group : int
        For a text that is published.
    window : str
        In which their events are counted, where the text does not show it elsewhere.
    """
    few, settings = rounded_count(customer_count - clustered_count, min_group), facet.settings
    customer_count = rounded_count(customer_count, min_group)
    if not few or settings.algorithm == "rule":
        return ""
    outcome = "their interests are unknown" if facet.is_named_by_interests else "they are grouped by lifecycle stage"
    if settings.min_orders == 1 and not settings.min_evidence:
        return f"{few:,} of {customer_count:,} customers ({few / customer_count:.0%}) have no order{window}: {outcome}."
    keys = ["clustering.min_orders" if settings.min_orders else f"facets.{facet.name}.min_events"]
    missing = f"fewer than {_least(facet)}"
    if settings.min_evidence:
        missing += f" or less evidence of interests than {settings.min_evidence:g}"
        keys.append(f"facets.{facet.name}.min_evidence")
    return (
        f"{few:,} of {customer_count:,} customers ({few / customer_count:.0%}) are not clustered by {facet.name}, as "
        f"they have {missing}{window}; {outcome}. To cluster more of them, lower {' or '.join(keys)}."
    )


def rounding_note(spend: pd.Series, min_group: int) -> str:
    """How far shares of the revenue of customers are rounded; empty if this is too little to matter."""
    words, step = wording("en"), spend_step(spend, min_group)
    return words("sizes.rounded", step=words.number(step, "share")) if step else ""


def history_days(source: Source, params: Params) -> float:
    """Days between the first and the last event of the window."""
    first, last = (
        datetime.fromisoformat(moment) for moment in (source.summary.first_event_at, source.summary.last_event_at)
    )
    window = ObservationWindow(params.as_of, params.history_days)
    return max(0.0, (min(last, window.end) - max(first, window.start)).total_seconds() / 86_400)


def sample_note(source: Source, params: Params) -> str:
    """A note that the training is limited to a sample; empty if all customers are in it."""
    count, known = params.sample_customers, source.summary.customer_count
    if count is None or count >= known:
        return ""
    shown = rounded_count(known, params.naming.min_group)
    return f"Trained on about {count:,} of {shown:,} customers (sample_customers); all counts of segments are of these."
