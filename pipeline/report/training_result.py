"""The result of a training for the terminal: a table of segments per facet, notes and next steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config.params import Params
from pipeline.report.lineage import lineage_records, lineage_text
from pipeline.report.next_steps import command, next_lines, proposals_text, runs_command
from pipeline.report.publish import REPORT, SHORT_ID
from pipeline.report.terminal import align_columns, counted, warnings_and_notes
from pipeline.report.texts.wording import shown_name, wording


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training, and where it is stored.

    Attributes
    ----------
    segments : DataFrame
        The segments of all facets, one per row, with a column ``facet``.
    has_champion : bool
        Whether there is a champion, this run or an earlier one.
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
    has_champion: bool = True
    predicted: str = ""
    candidates: str = ""

    def as_text(self) -> str:
        """What was found, where it is and what to run next; then warnings and notes."""
        tables = [facet_text(str(name), rows) for name, rows in self.segments.groupby("facet", sort=False)]
        blocks = [*tables, self.candidates, lineage_text(lineage_records(self.lineage)), "\n".join(self._ending())]
        blocks.append("\n".join(warnings_and_notes(self.notes)))
        return "\n" + "\n\n".join(block for block in blocks if block)

    def _ending(self) -> list[str]:
        """What was found, the report and the next commands."""
        found = self.segments[~self.segments.is_standing.astype(bool)].groupby("facet", sort=False).size()
        by_facet = " and ".join(f"{counted(count, 'segment')} by {facet}" for facet, count in found.items())
        run = self.run_id[:SHORT_ID]
        return [
            f"Found    {by_facet or 'no segments'}",
            *([self.predicted] if self.predicted else []),
            f"Report   {self.report_path}",
            *self._challenger_note(),
            f"Model    {self.model_uri} (@{self.alias}), of run {self.run_id}",
            *next_lines(
                {
                    **self._scoring(),
                    command(self.params, "report", run, "--xlsx"): "the report's tables as a workbook",
                    runs_command(self.params): "compare runs in MLflow",
                }
            ),
            *proposals_text(self.params, self.segments, is_champion=self.alias == "champion"),
        ]

    def _scoring(self) -> dict[str, str]:
        """The commands that score with this run: a challenger only once it is the champion, whose report is shown."""
        purpose = "assign every customer to a segment"
        if self.alias == "champion":
            return {command(self.params, "score", "--model", self.model_uri): purpose}
        promote = command(self.params, "promote", self.run_id[:SHORT_ID])
        worse = ", unless it is worse than the present one" if self.has_champion else ""
        return {promote: f"make this run the champion{worse}", command(self.params, "score"): f"then {purpose}"}

    def _challenger_note(self) -> list[str]:
        """For a challenger: whose results the outputs folder still holds."""
        if self.alias == "champion":
            return []
        champions = f"{self.report_path.parents[1] / REPORT} is still the champion's"
        reason = champions if self.has_champion else "There is no champion yet"
        return [f"         {reason}."]


def facet_text(facet: str, segments: pd.DataFrame) -> str:
    """The segments of a facet as a table: name, customers, shares, stability and distinctive interests."""
    words = wording("en")
    has_spend = (segments.spend_share.fillna(0.0) > 0).any()
    rows: list[dict[Any, Any]] = segments.to_dict("records")
    columns = {
        words.facet(facet): [shown_name(row["name"], is_stable=row["is_stable"]) for row in rows],
        words("sizes.customers"): [words.size(row["customer_count"], is_small=row["is_small"]) for row in rows],
        words("sizes.share"): [words.number(share, "share") for share in segments.customer_share],
        words("sizes.spend"): [words.number(share if has_spend else None, "share") for share in segments.spend_share],
        "Stability": segments.stability_word.fillna("–"),
    }
    if any(row["top_categories"] for row in rows):
        labels = ["; ".join(item["label"] for item in row["top_categories"]) for row in rows]
        columns[words("sizes.interests")] = [text or "–" for text in labels]
    cells = zip(*columns.values(), strict=True)
    return "\n".join(align_columns([[*columns], *cells], right={1, 2, 3}, max_chars=200, ruled=True))
