"""What a training made, for the terminal: a table of segments for each facet, notes, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config.params import Params
from pipeline.report.next_steps import command, proposals_text, to_see_runs
from pipeline.report.publish import REPORT, SHORT_ID
from pipeline.report.terminal import aligned, lineage_text
from pipeline.report.texts.wording import shown_name


@dataclass(frozen=True)
class Trained:
    """What a training made, and where it lies.

    Attributes
    ----------
    segments : DataFrame
        The segments of all facets, a row each; ``facet`` names it.
    lineage : list of dict
        Rows of `pipeline.segmentation.lineage.Identified`, of all facets.
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
        """The tables of segments, and what to do next."""
        tables = [facet_text(str(name), rows) for name, rows in self.segments.groupby("facet", sort=False)]
        lineage = lineage_text(self.lineage)
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
                *self._whose_report(),
                *proposals_text(self.params, self.segments, is_champion=self.alias == "champion"),
                f"Next     {to_see_runs(self.params):<27}  # compare runs in MLflow",
                f"         {command(self.params, 'score', '--model', self.model_uri)}",
                f"         {command(self.params, 'report', self.run_id[:SHORT_ID], '--xlsx')}",
            ]
        )

    def _whose_report(self) -> list[str]:
        """What lies in the outputs folder, where it is not of this run."""
        if self.alias == "champion":
            return []
        return [
            f"         of this run; {self.report_path.parents[1] / REPORT} stays the champion's until: "
            f"{command(self.params, 'promote', self.run_id[:SHORT_ID])}"
        ]


def facet_text(facet: str, segments: pd.DataFrame) -> str:
    """The segments of a facet as people read them: name, customers, share of spend, top interests."""
    has_spend = (segments.spend_share.fillna(0.0) > 0).any()  # a log without prices shows nothing of it
    rows: list[dict[Any, Any]] = segments.to_dict("records")
    has_interests = any(row["top_categories"] for row in rows)
    columns = {
        facet.capitalize(): [shown_name(row) for row in rows],
        "Customers": segments.customer_count.map("{:,}".format),
        "Share": segments.customer_share.map("{:.1%}".format),
        "Spend": [
            f"{share:.1%}" if has_spend and share is not None and not np.isnan(share) else "-"
            for share in segments.spend_share
        ],
        "Stability": segments.stability_word.fillna("-"),
    }
    if has_interests:
        columns["Top interests"] = ["; ".join(item["label"] for item in row["top_categories"]) or "-" for row in rows]
    table = pd.DataFrame(columns)
    lines = aligned([[*table.columns], *table.to_numpy().tolist()], right={1, 2, 3}, most=200)
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
