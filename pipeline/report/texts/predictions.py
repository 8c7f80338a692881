"""How well the segments predict, as a text and a table."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.report.parts.quality import Interval, Validity
from pipeline.report.texts.wording import Wording

PREDICTED = ("buys_auc", "spend_r2", "category_auc")


@dataclass(frozen=True)
class Predictions:
    """A text, and a table with intervals: headings, and rows of a name and its cells."""

    text: str
    head: list[str]
    rows: list[tuple[str, list[str]]]


def predictions(validity: Validity | None, words: Wording) -> Predictions | None:
    """How well segments predict; None if nothing was measured."""
    if validity is None or not validity.rows["segments"]:
        return None
    shown = [name for name in PREDICTED if name in validity.rows["segments"]]
    # With a single facet, its row would repeat the row of all segments.
    single = validity.facets if len(validity.facets) == 1 else ()
    rows = [
        (_predictor(name, validity, words), [_interval(row.get(outcome), words) for outcome in shown])
        for name, row in validity.rows.items()
        if name not in single
    ]
    kept = [words.number(validity.kept.get(outcome), "share") for outcome in shown]
    text = words(
        "predicted.intro",
        date=words.moment(validity.cutoff),
        days=words("days", count=validity.horizon_days),
        customers=words.whole(validity.customer_count),
        bought=words.whole(validity.buyer_count),
        groups=words.whole(validity.group_count),
    )
    return Predictions(text, [words(f"predicted.{name}") for name in shown], [*rows, (words("predicted.kept"), kept)])


def _interval(figure: Interval | None, words: Wording) -> str:
    if figure is None:
        return "–"
    mean, low, high = (words.fixed(value, "0.0##") for value in (figure.mean, figure.low, figure.high))
    return f"{mean} ({low}–{high})"


def _predictor(name: str, validity: Validity, words: Wording) -> str:
    """The label of what the prediction is based on; its own name where there is no text for it."""
    key = "predicted.together" if name == "segments" and len(validity.facets) > 1 else f"predicted.{name}"
    return words(key) if key in words.texts else name
