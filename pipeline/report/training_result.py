"""The result of a training for the terminal: a table of segments per facet, notes and next steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config.params import Params
from pipeline.report.lineage import lineage_records, lineage_text
from pipeline.report.next_steps import command, proposals_text, runs_command
from pipeline.report.publish import REPORT, SHORT_ID
from pipeline.report.terminal import align_columns
from pipeline.report.texts.wording import shown_name, wording


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training, and where it is stored.

    Attributes
    ----------
    segments : DataFrame
        The segments of all facets, one per row, with a column ``facet``.
    lineage : list of dict
        Rows of `pipeline.segmentation.lineage.SegmentIdentity`, of all facets.
    """

    run_id: str
    model_uri: str
    alias: str
    segments: pd.DataFrame
    report_path: Path
    notes: tuple[str, ...]
    lineage: list[dict[str, Any]]
    params: Params
    predicted: str = ""
    candidates: str = ""

    def as_text(self) -> str:
        """The tables of segments and the next steps."""
        tables = [facet_text(str(name), rows) for name, rows in self.segments.groupby("facet", sort=False)]
        lineage = lineage_text(lineage_records(self.lineage))
        return "\n".join(
            [
                "",
                *(line for table in tables for line in (table, "")),
                *([self.candidates, ""] if self.candidates else []),
                *([lineage, ""] if lineage else []),
                *(f"Note: {note}" for note in self.notes),
                *([self.predicted] if self.predicted else []),
                f"Run      {self.run_id}",
                f"Model    {self.model_uri} (@{self.alias})",
                f"Report   {self.report_path}",
                *self._challenger_note(),
                *proposals_text(self.params, self.segments, is_champion=self.alias == "champion"),
                f"Next     {runs_command(self.params):<27}  # compare runs in MLflow",
                f"         {command(self.params, 'score', '--model', self.model_uri)}",
                f"         {command(self.params, 'report', self.run_id[:SHORT_ID], '--xlsx')}",
            ]
        )

    def _challenger_note(self) -> list[str]:
        """For a challenger: the outputs folder still holds the results of the champion."""
        if self.alias == "champion":
            return []
        return [
            f"         {self.report_path.parents[1] / REPORT} is still the champion's. To replace it: "
            f"{command(self.params, 'promote', self.run_id[:SHORT_ID])}"
        ]


def facet_text(facet: str, segments: pd.DataFrame) -> str:
    """The segments of a facet as a table: name, customers, shares, stability and distinctive interests."""
    words = wording("en")
    has_spend = (segments.spend_share.fillna(0.0) > 0).any()
    rows: list[dict[Any, Any]] = segments.to_dict("records")
    has_interests = any(row["top_categories"] for row in rows)
    columns = {
        words.facet(facet): [shown_name(row["name"], is_stable=row["is_stable"]) for row in rows],
        words("sizes.customers"): segments.customer_count.map(words.whole),
        words("sizes.share"): [words.number(share, "share") for share in segments.customer_share],
        words("sizes.spend"): [
            words.number(share, "share") if has_spend and share is not None and not np.isnan(share) else "-"
            for share in segments.spend_share
        ],
        "Stability": segments.stability_word.fillna("-"),
    }
    if has_interests:
        columns[words("sizes.interests")] = [
            "; ".join(item["label"] for item in row["top_categories"]) or "-" for row in rows
        ]
    table = pd.DataFrame(columns)
    lines = align_columns([[*table.columns], *table.to_numpy().tolist()], right={1, 2, 3}, max_chars=200)
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
