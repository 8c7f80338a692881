"""`kindred drift`: whether to keep a model, to watch it, or to train again, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.disclosure import rounded_count, significant
from models.drift import CATEGORIES, Limits, Verdict, judge
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.config.sections.drift import DriftLimit
from pipeline.drift.measure import Measured, measure_drift
from pipeline.drift.reference import Reference
from pipeline.ingest.source import read_source
from pipeline.report.next_steps import command
from pipeline.report.terminal import align_columns
from pipeline.scoring.trained_model import open_model
from pipeline.stores import files
from pipeline.stores.workspace import workspace

FILE = "drift.json"
SHOWN_COLUMNS = 5
VERDICTS: dict[Verdict, str] = {"keep": "keep the model", "watch": "watch the model", "train_again": "train again"}

RECENT = {
    "event_count": "events per active customer",
    "order_count": "orders per active customer",
    CATEGORIES: "categories of events",
}


@dataclass(frozen=True)
class DriftResult:
    """The drift of a shop since the training of a model.

    Attributes
    ----------
    reasons : list of str
        Sentences, the worst first; empty if the model is kept.
    buys_auc_at_training : float or None
        AUROC of the segments' prediction of who buys, at training.
    """

    params: Params
    model_uri: str
    trained_at: datetime
    measured: Measured
    buys_auc_at_training: float | None
    verdict: Verdict
    reasons: list[str]

    @property
    def customer_count(self) -> int:
        """Customers of today, as it may be published."""
        return rounded_count(self.measured.customer_count, self.params.naming.min_group)

    def as_text(self) -> str:
        """The verdict, its reasons, and the figures."""
        reading = self.measured.reading
        rows = [[drift.column, f"{drift.psi:.2f}"] for drift in reading.columns[:SHOWN_COLUMNS]]
        lines = [
            f"Verdict   {VERDICTS[self.verdict]}",
            *(f"Reason    {reason}" for reason in self.reasons),
            "",
            *align_columns([["Columns that moved most", "PSI"], *rows], right={1}),
            "",
            *(f"Sizes of the segments by {facet}: PSI {psi:.2f}" for facet, psi in reading.segment_psi.items()),
            f"In the last {self.measured.horizon_days} days: "
            + ", ".join(f"{RECENT[what]} PSI {psi:.2f}" for what, psi in reading.recent_psi.items()),
            f"Events in new categories: {reading.new_category_share:.1%}",
            self._moved_line(),
            self._validity_line(),
            f"Customers {self.customer_count:,}; trained as of {self.trained_at:%Y-%m-%d %H:%M} UTC",
            f"Model     {self.model_uri}",
        ]
        if self.verdict == "train_again":
            lines.append(f"Next      {command(self.params, 'train')}")
        return "\n".join(lines)

    def _moved_line(self) -> str:
        share = self.measured.reading.other_segment_share
        if share is None or self.measured.scored_at is None:
            return "Customers in another segment than in the scores: not known, as there are no scores of this model"
        return f"Customers in another segment than in the scores of {self.measured.scored_at:%Y-%m-%d}: {share:.1%}"

    def _validity_line(self) -> str:
        now, then = self.measured.buys_auc, self.buys_auc_at_training
        days = self.measured.horizon_days
        if then is None:
            return "Prediction of buyers: not measured at training (quality.validity)"
        if now is None:
            return f"Prediction of buyers: not known before {days} days after the training, or with too few buyers"
        interval = f"{now.low:.2f}-{now.high:.2f}"
        return (
            f"Prediction of buyers in the last {days} days: AUROC {now.mean:.2f} ({interval}); at training {then:.2f}"
        )

    def as_json(self) -> dict[str, Any]:
        """The same for programs; aggregates only, rounded."""
        reading, moved = self.measured.reading, self.measured.reading.other_segment_share
        return {
            "as_of": self.params.as_of.isoformat(),
            "trained_at": self.trained_at.isoformat(),
            "model_uri": self.model_uri,
            "verdict": self.verdict,
            "reasons": self.reasons,
            "customer_count": self.customer_count,
            "column_psi": {drift.column: round(drift.psi, 3) for drift in reading.columns},
            "segment_psi": {facet: round(psi, 3) for facet, psi in reading.segment_psi.items()},
            "recent_psi": {name: round(psi, 3) for name, psi in reading.recent_psi.items()},
            "moved_share": None if moved is None else significant(moved),
            "new_category_share": significant(reading.new_category_share),
            "buys_auc": self.measured.buys_auc.mean if self.measured.buys_auc else None,
            "buys_auc_at_training": self.buys_auc_at_training,
        }


def drift(params: Params, *, model_uri: str, progress: Progress) -> DriftResult:
    """Compare the customers at ``params.as_of`` with the training of a model; writes drift.json to the outputs folder.

    Raises
    ------
    UserError
        The model or the source cannot be used, the model has no reference, or as_of is before its training.
    """
    with workspace(params) as session:
        trained = open_model(session, model_uri)
        reference = Reference.load(trained.model.shop_folder)
        if reference is None:
            raise UserError(
                f"{trained.model.uri}: expected a model that knows how customers were at its training; this one is "
                "from an older version of Kindred. Train again."
            )
        trained_at = trained.params.as_of
        if params.as_of < trained_at:
            raise UserError(
                f"as_of: expected {trained_at:%Y-%m-%d %H:%M:%S} (the training's) or later; got "
                f"{params.as_of:%Y-%m-%d %H:%M:%S}."
            )
        progress("reading and checking")
        source = read_source(session.con, params, rejected_path=None)
        measured = measure_drift(session.engine, source, params, trained, reference, progress=progress)
        limits = params.drift
        verdict, found = judge(
            measured.reading,
            psi=_limits(limits.columns),
            segment_psi=_limits(limits.segment_sizes),
            recent_psi=_limits(limits.recent_activity),
            moved=_limits(limits.moved_share),
            new_categories=_limits(limits.new_category_share),
            validity=_limits(limits.validity_loss),
        )
        reasons = [f"{_sentence(name, value, measured)} ({VERDICTS[own]})" for name, value, own in found]
        uri = trained.model.uri
        result = DriftResult(params, uri, trained_at, measured, reference.buys_auc, verdict, reasons)
        files.write_json(session.folder / FILE, result.as_json())
    return result


def _limits(limit: DriftLimit) -> Limits:
    return Limits(limit.watch, limit.train_again)


def _sentence(name: str, value: float, measured: Measured) -> str:
    """What a figure of `models.drift.judge` means."""
    if name == "columns":
        largest = ", ".join(drift.column for drift in measured.reading.columns[:SHOWN_COLUMNS])
        return f"Profiles have changed: the five columns that moved most have a median PSI of {value:.2f}: {largest}"
    if name.startswith("recent "):
        return f"Lately the {RECENT[name.removeprefix('recent ')]} have changed: PSI {value:.2f}"
    if name == "new categories":
        return f"{value:.1%} of events are in categories that the model does not know"
    if name == "other segment":
        return f"{value:.1%} of the scored customers would now be in another segment"
    if name == "predictive validity":
        return f"The segments predict who buys worse than at training: AUROC is {value:.2f} lower"
    facet = name.removeprefix("segments of ")
    return f"The sizes of the segments by {facet} have changed: PSI {value:.2f}"
