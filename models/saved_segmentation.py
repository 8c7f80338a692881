"""A named segmentation: what it reads, and how it is applied, saved and loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.profile import Column
from models.arrays import save_arrays
from models.scorer import (
    EXPECTED_VALUE_FILE,
    FACETS_FILE,
    VALUE_COLUMNS,
    ExpectedValueModel,
    read_model,
    score_columns,
)
from models.what_if import CHANGED_COLUMNS


def input_columns(columns: Sequence[Column]) -> list[str]:
    """Columns that a model needs: for clusters, changes of moves, the expected value, and the rule-based groups."""
    return [
        *dict.fromkeys([*(name for column in columns for name in column.reads), *CHANGED_COLUMNS, *VALUE_COLUMNS]),
        "evidence",
        "lifecycle_stage",
    ]


@dataclass(frozen=True)
class Segmentation:
    """A named segmentation, ready to score.

    Attributes
    ----------
    facets : dict
        Name of a facet -> the input of `scorer.segment_columns`: prefix, scaling, clusters, segments (segment_id,
        cluster_id, name), standing (rule-based groups), grouped_by, evidence_words, min_events, min_evidence,
        border_margin, and optionally moves.
    expected_value : ExpectedValueModel, optional
        None if it is not known.
    """

    facets: dict[str, dict[str, Any]]
    expected_value: ExpectedValueModel | None = None

    @staticmethod
    def load(folder: Path) -> Segmentation:
        """Read what `save` wrote."""
        model = read_model(folder)
        return Segmentation({facet["name"]: facet for facet in model["facets"]}, model["expected_value"])

    def predict(self, profile: pd.DataFrame) -> pd.DataFrame:
        """The segment columns and the expected value of the scores, exactly as the saved model computes them."""
        return score_columns(profile, {"facets": list(self.facets.values()), "expected_value": self.expected_value})

    def save(self, folder: Path) -> None:
        """Write a folder for each facet: without pickle, and with identical bytes for identical content."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FACETS_FILE).write_text(json.dumps([*self.facets]), encoding="utf-8")
        for name, model in self.facets.items():
            _save_facet(model, folder / name)
        if self.expected_value:
            (folder / EXPECTED_VALUE_FILE).write_text(self.expected_value.to_json(), encoding="utf-8")


def _save_facet(model: Mapping[str, Any], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    plain = {key: value for key, value in model.items() if key not in ("scaling", "clusters")}
    arrays: dict[str, np.ndarray] = {}
    for section in ("scaling", "clusters"):
        plain[section] = {}
        for key, value in model[section].items():
            if isinstance(value, np.ndarray):
                arrays[f"{section}.{key}"] = value
            else:
                plain[section][key] = value
    text = json.dumps(plain, ensure_ascii=False, sort_keys=True, indent=1)
    (folder / "model.json").write_text(text, encoding="utf-8")
    save_arrays(folder / "arrays.npz", arrays)
