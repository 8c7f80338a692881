"""How far customers have drifted from the training: by column, by segment, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.disclosure import rounded_counts, shares_of_whole, significant
from models.scorer import Floats

MAX_BINS = 10
MIN_SHARE = 1e-4
"""Floor of a bin's share: PSI is infinite for an empty bin."""
CATEGORIES = "categories"
OF_CATEGORIES = ("new categories", f"recent {CATEGORIES}")
"""Figures of `judge` that say nothing of who buys."""
Verdict = Literal["keep", "watch", "train_again"]


@dataclass(frozen=True)
class ColumnReference:
    """How a column was distributed at training.

    Attributes
    ----------
    edges : float array of shape (n_bins - 1,)
        Inner bin edges: distinct quantiles of the known values, to three significant digits, as a quantile is the value
        of one customer; a value on an edge is in the bin below it.
    shares : float array of shape (n_bins + 1,)
        Share of customers in each bin, then of those without a value; from rounded numbers of customers.
    """

    edges: Floats
    shares: Floats


@dataclass(frozen=True)
class ColumnDrift:
    """How far a column has moved.

    Attributes
    ----------
    psi : float
        Population stability index, above what chance alone gives; 0 is no drift.
    """

    column: str
    psi: float


@dataclass(frozen=True)
class DriftReading:
    """What the verdict rests on.

    Attributes
    ----------
    columns : list of ColumnDrift
        The largest first.
    segment_psi : mapping of str to float
        Facet -> PSI of its segments' sizes.
    other_segment_share : float or None
        Share of customers in both who would be in another segment; None where that is not known.
    new_category_share : float
        Share of events in categories that the model does not know.
    validity_loss : float or None
        AUROC of who buys at training, minus that of today's outcomes; None while outcomes are not known.
    recent_psi : mapping of str to float
        What customers did lately -> PSI to what they did just before the training.
    """

    columns: Sequence[ColumnDrift]
    segment_psi: Mapping[str, float]
    other_segment_share: float | None
    new_category_share: float
    validity_loss: float | None
    recent_psi: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """From which figure on to watch, and to train again."""

    watch: float
    train_again: float

    def verdict(self, value: float) -> Verdict:
        """The verdict on one figure."""
        return "train_again" if value >= self.train_again else "watch" if value >= self.watch else "keep"


def make_reference(table: pd.DataFrame, columns: Sequence[str], min_group: int) -> dict[str, ColumnReference]:
    """Distribution of numeric columns, in bins of equal size where values differ, of at least two rounding steps.

    Parameters
    ----------
    table : DataFrame, one row per customer
    columns : sequence of str
        Of ``table``; null where not known.
    """
    references = {}
    for column in columns:
        values = table[column].to_numpy(np.float64, na_value=np.nan)
        known = values[~np.isnan(values)]
        bins = min(MAX_BINS, max(known.size // (2 * min_group), 1))
        quantiles = np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1]) if known.size else np.array([])
        edges = np.unique([significant(edge, 3) for edge in quantiles])
        references[column] = ColumnReference(edges, _bin_shares(values, edges, min_group))
    return references


def _bin_shares(values: NDArray[np.float64], edges: Floats, min_group: int) -> Floats:
    is_known = ~np.isnan(values)
    counts = np.bincount(np.searchsorted(edges, values[is_known], side="left"), minlength=len(edges) + 1)
    rounded = rounded_counts(np.append(counts, (~is_known).sum()), min_group)
    return shares_of_whole(rounded, rounded.sum())


def column_drift(
    references: Mapping[str, ColumnReference], table: pd.DataFrame, *, trained_count: int, min_group: int
) -> list[ColumnDrift]:
    """PSI of each column of ``references`` in ``table``, the largest first; of equal ones, by name.

    It is computed from rounded numbers of customers on both sides, so it tells no more than they do.

    Parameters
    ----------
    table : DataFrame, one row per customer
    trained_count : int
        Customers that the references were made from.
    """
    drifts = []
    for column, reference in references.items():
        shares = _bin_shares(table[column].to_numpy(np.float64, na_value=np.nan), reference.edges, min_group)
        psi = stability_index(reference.shares, shares, (trained_count, len(table)))
        drifts.append(ColumnDrift(column, psi))
    return sorted(drifts, key=lambda drift: (-drift.psi, drift.column))


def segment_drift(trained: Mapping[str, float], current: Mapping[str, float], counts: tuple[int, int]) -> float:
    """PSI of the sizes of segments; ``trained``, ``current``: segment_id -> share of customers."""
    ids = sorted({*trained, *current})
    before, after = (np.array([shares.get(segment_id, 0.0) for segment_id in ids]) for shares in (trained, current))
    return stability_index(before, after, counts)


def stability_index(expected: Floats, actual: Floats, counts: tuple[int, int]) -> float:
    """Population stability index of two distributions, less what chance gives; never below 0.

        PSI = sum over bins of (actual - expected) * ln(actual / expected)

    Without drift PSI is on average ``(bins - 1) * (1/n + 1/m)`` (Yurdakul and Naranjo, 2020, "Statistical properties of
    the population stability index"), so small samples would seem to drift. The usual bands are: below 0.1 stable, from
    0.25 on a major change (Siddiqi, 2006, "Credit Risk Scorecards").

    Parameters
    ----------
    expected, actual : float arrays of shape (n_bins,)
        Shares that sum to 1.
    counts : (int, int)
        Customers behind each.
    """
    used = (expected > 0) | (actual > 0)
    before, after = (np.maximum(shares[used], MIN_SHARE) for shares in (expected, actual))
    index = float(((after - before) * np.log(after / before)).sum())
    by_chance = (used.sum() - 1) * sum(1.0 / count for count in counts if count)
    return max(index - float(by_chance), 0.0)


def judge(
    reading: DriftReading,
    *,
    psi: Limits,
    segment_psi: Limits,
    recent_psi: Limits,
    moved: Limits,
    new_categories: Limits,
    validity: Limits,
) -> tuple[Verdict, list[tuple[str, float, Verdict]]]:
    """The verdict, and the figures behind it that are not `keep`, the worst first.

    Outcomes decide when they are known: a model that still predicts as well is at most watched, however far a column
    has moved. They only say who buys, not what, so a change of categories counts in any case. One column alone is never
    a reason to train again, as a shop has many; the median of the five that moved most is.
    """
    figures = {
        "columns": (_typical_of_largest(reading.columns), psi),
        **{f"segments of {facet}": (value, segment_psi) for facet, value in reading.segment_psi.items()},
        **{f"recent {what}": (value, recent_psi) for what, value in reading.recent_psi.items()},
        "new categories": (reading.new_category_share, new_categories),
    }
    if reading.other_segment_share is not None:
        figures["other segment"] = (reading.other_segment_share, moved)
    judged = [(name, value, limits.verdict(value)) for name, (value, limits) in figures.items()]
    if reading.validity_loss is not None:
        outcome = validity.verdict(reading.validity_loss)
        if outcome != "train_again":
            judged = [
                (name, value, "watch" if own == "train_again" and name not in OF_CATEGORIES else own)
                for name, value, own in judged
            ]
        judged.append(("predictive validity", reading.validity_loss, outcome))
    order: dict[Verdict, int] = {"train_again": 0, "watch": 1, "keep": 2}
    reasons = sorted((row for row in judged if row[2] != "keep"), key=lambda row: (order[row[2]], -row[1]))
    return (reasons[0][2] if reasons else "keep"), reasons


def _typical_of_largest(columns: Sequence[ColumnDrift]) -> float:
    largest = [drift.psi for drift in columns[:5]]
    return float(np.median(largest)) if largest else 0.0
