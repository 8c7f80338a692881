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

from models.drift import ColumnReference, make_reference
from models.segmentation import input_columns
from pipeline.segmentation.predictive_validity import SEGMENTS
from pipeline.segmentation.training_summary import TrainingFindings

FILE = "drift.json"


@dataclass(frozen=True)
class Reference:
    """How customers were at training; shares only.

    Attributes
    ----------
    customer_count : int
        Customers of the training.
    columns : dict of str to ColumnReference
    segments : dict
        Facet -> segment_id -> share of customers.
    buys_auc : float or None
        AUROC of the segments' prediction of who buys (`pipeline.segmentation.predictive_validity`); None if it was not
        measured.
    """

    customer_count: int
    columns: Mapping[str, ColumnReference]
    segments: Mapping[str, Mapping[str, float]]
    buys_auc: float | None

    def save(self, folder: Path) -> None:
        """Write it to the shop folder of the model."""
        content = {
            "customer_count": self.customer_count,
            "columns": {
                name: {"edges": column.edges.tolist(), "shares": column.shares.tolist()}
                for name, column in self.columns.items()
            },
            "segments": self.segments,
            "buys_auc": self.buys_auc,
        }
        (folder / FILE).write_text(json.dumps(content, sort_keys=True, ensure_ascii=False), encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> Reference | None:
        """Read what `save` wrote; None if the model was trained before there was such a file."""
        if not (folder / FILE).exists():
            return None
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        columns = {
            name: ColumnReference(np.array(column["edges"], np.float64), np.array(column["shares"], np.float64))
            for name, column in content["columns"].items()
        }
        return Reference(content["customer_count"], columns, content["segments"], content["buys_auc"])


def reference_of(findings: TrainingFindings) -> Reference:
    """The reference of a training: of the numbers that its model reads, and of its segments."""
    profile = findings.profiles.table
    names = input_columns(findings.profiles.shop.spec.columns())
    figure = findings.validity.rows[SEGMENTS].get("buys_auc") if findings.validity else None
    return Reference(
        customer_count=len(profile),
        columns=make_reference(profile, [name for name in names if pd.api.types.is_numeric_dtype(profile[name])]),
        segments={facet.segments.facet.name: shares_of(facet.segments.segment_ids) for facet in findings.facets},
        buys_auc=figure.mean if figure else None,
    )


def shares_of(segment_ids: Sequence[str] | NDArray[Any] | pd.Series) -> dict[str, float]:
    """segment_id -> share of customers."""
    shares = pd.Series(segment_ids).value_counts(normalize=True, dropna=False).sort_index()
    return {str(segment_id): float(share) for segment_id, share in shares.items()}
