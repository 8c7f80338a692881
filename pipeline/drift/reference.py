"""What a training stores with its model, to tell later how far the customers have drifted from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.disclosure import rounded_count, rounded_share
from models.drift import ColumnReference, make_reference
from models.saved_segmentation import input_columns
from pipeline.config.params import Params
from pipeline.drift.recent import COLUMNS, recent_activity
from pipeline.segmentation.predictive_validity import SEGMENTS
from pipeline.segmentation.training_summary import TrainingFindings

FILE = "drift.json"


@dataclass(frozen=True)
class Reference:
    """How customers were at training; rounded numbers and shares only.

    Attributes
    ----------
    customer_count : int
        Customers of the training.
    columns : dict of str to ColumnReference
    segments : dict
        Facet -> segment_id -> share of customers.
    active_count : int
        Customers with an event in the last `backtest.horizon_days`.
    recent : dict of str to ColumnReference
        `pipeline.drift.recent.COLUMNS` of these customers.
    category_shares : dict of str to float
        Category -> share of the events of these days.
    buys_auc : float or None
        AUROC of the segments' prediction of who buys (`pipeline.segmentation.predictive_validity`); None if it was not
        measured.
    """

    customer_count: int
    columns: Mapping[str, ColumnReference]
    segments: Mapping[str, Mapping[str, float]]
    active_count: int
    recent: Mapping[str, ColumnReference]
    category_shares: Mapping[str, float]
    buys_auc: float | None

    def save(self, folder: Path) -> None:
        """Write it to the shop folder of the model."""
        content = {
            "customer_count": self.customer_count,
            "columns": _as_lists(self.columns),
            "segments": self.segments,
            "active_count": self.active_count,
            "recent": _as_lists(self.recent),
            "category_shares": self.category_shares,
            "buys_auc": self.buys_auc,
        }
        (folder / FILE).write_text(json.dumps(content, sort_keys=True, ensure_ascii=False), encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> Reference | None:
        """Read what `save` wrote; None if the model was trained before there was such a file."""
        if not (folder / FILE).exists():
            return None
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Reference(**content | {name: _from_lists(content[name]) for name in ("columns", "recent")})


def _as_lists(references: Mapping[str, ColumnReference]) -> dict[str, dict[str, list[float]]]:
    return {name: {"edges": each.edges.tolist(), "shares": each.shares.tolist()} for name, each in references.items()}


def _from_lists(content: Mapping[str, Mapping[str, list[float]]]) -> dict[str, ColumnReference]:
    return {
        name: ColumnReference(np.array(each["edges"], np.float64), np.array(each["shares"], np.float64))
        for name, each in content.items()
    }


def reference_of(findings: TrainingFindings, params: Params) -> Reference:
    """The reference of a training: of the numbers that its model reads, of its segments, and of recent events."""
    profile, spec = findings.profiles.table, findings.profiles.shop.spec
    names, min_group = input_columns(spec.columns()), params.naming.min_group
    recent = recent_activity(findings.source, spec, params.as_of, params.backtest.horizon_days, min_group)
    figure = findings.validity.rows[SEGMENTS].get("buys_auc") if findings.validity else None
    return Reference(
        customer_count=rounded_count(len(profile), min_group),
        columns=make_reference(
            profile, [name for name in names if pd.api.types.is_numeric_dtype(profile[name])], min_group
        ),
        segments={
            facet.segments.facet.name: shares_of(facet.segments.segment_ids, min_group) for facet in findings.facets
        },
        active_count=rounded_count(len(recent.customers), min_group),
        recent=make_reference(recent.customers, COLUMNS, min_group),
        category_shares=recent.category_shares,
        buys_auc=figure.mean if figure else None,
    )


def shares_of(segment_ids: Sequence[str] | NDArray[Any] | pd.Series, min_group: int) -> dict[str, float]:
    """segment_id -> share of customers, as it may be published."""
    sizes = pd.Series(segment_ids).value_counts(dropna=False).sort_index()
    return {str(segment_id): rounded_share(size, len(segment_ids), min_group) for segment_id, size in sizes.items()}
