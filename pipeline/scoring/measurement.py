"""Measures of all customers, the input of scores, from the whole log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from features.events import ObservationWindow
from models.disclosure import rounded_count
from models.scorer import Floats
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.ingest.findings.summary import ReadingSummary
from pipeline.ingest.summaries import read_shop
from pipeline.profiles.measures import CustomerMeasures, measure, to_customer_measures
from pipeline.profiles.seasonality import full_season_mix
from pipeline.profiles.shop import Shop
from pipeline.stores.engines.engine import Engine


@dataclass(frozen=True)
class MeasurementResult:
    """Measures of all customers, what was read to compute them, and notes for the user.

    Attributes
    ----------
    changed_count : int or None
        Customers who were measured again; None if all were.
    notes : list of str
        Messages about the log and the state.
    season_mix : float array of shape (n_slots, n_categories)
        Result of `models.seasons.period_mixes`.
    commit : callable
        Writes what the next update needs, if anything. Call it after the scores are written.
    """

    measures: CustomerMeasures
    changed_count: int | None
    reading: ReadingSummary
    notes: list[str]
    season_mix: Floats
    commit: Callable[[], None]

    def summary_lines(self, customer_count: int, min_group: int) -> list[str]:
        """How many of all customers were updated, rounded (`models.disclosure`), and the notes."""
        if self.changed_count is None:
            return self.notes
        others = "for the others only the time since their last activity changed"
        changed, known = (rounded_count(count, min_group) for count in (self.changed_count, customer_count))
        return [f"Updated {changed:,} of {known:,} customers; {others}", *self.notes]


def measure_in_full(
    engine: Engine, params: Params, trained: Params, *, shop: Shop, rejected_path: Path | None, progress: Progress
) -> MeasurementResult:
    """Measures as of ``params.as_of`` from the whole log.

    Parameters
    ----------
    trained : Params
        Params of the model, with the ``as_of`` of ``params``.
    """
    progress("reading and checking")
    source = read_shop(engine, params, rejected_path=rejected_path)
    measured = measure(engine, source, trained, shop=shop, progress=progress, with_seasons=True)
    window = ObservationWindow(params.as_of, shop.spec.history_days)
    return MeasurementResult(
        measures=to_customer_measures(measured),
        changed_count=None,
        reading=source.summary,
        notes=[],
        season_mix=full_season_mix(source, shop.spec, trained, window),
        commit=lambda: None,
    )
