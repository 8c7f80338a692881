"""What became of each segment from training to training: as data, in words, and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from pipeline.report.parts.segment import Texts
from pipeline.report.summary import Change, Lineage, LineageRow
from pipeline.report.terminal import align_columns
from pipeline.report.texts.wording import Wording, wording

MAX_TRAININGS = 6
MAX_CHANGE_CHARS = 80
"""The change of a segment, including its earlier name."""


class LineageRecord(BaseModel):
    """A row of `pipeline.segmentation.lineage.SegmentIdentity`: what became of a segment in one training."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    as_of: str
    segment_id: str
    verdict: str
    is_here: bool
    related: list[str]
    jaccard: float | None
    name: str | None = None
    names: Texts = {}


def lineage_records(rows: Iterable[Mapping[str, object]]) -> list[LineageRecord]:
    """The rows of a lineage file, the earliest training first."""
    return [LineageRecord.model_validate(row) for row in rows]


def lineage_table(records: Sequence[LineageRecord]) -> Lineage:
    """What became of each segment in the latest related trainings; empty until there are two."""
    dates = {record.run_id: record.as_of for record in records}
    shown = list(dates)[-MAX_TRAININGS:]
    if len(dates) < 2:
        return Lineage(trainings=[], rows=[])
    names: dict[str, str] = {}
    in_languages: dict[str, Texts] = {}
    cells: dict[str, dict[str, Change | None]] = {}
    for record in records:
        segment_id = record.segment_id
        before = (names.get(segment_id, ""), in_languages.get(segment_id, {}))
        names[segment_id] = record.name or before[0]
        in_languages[segment_id] = record.names or before[1]
        if record.run_id in shown:
            change = _change(record, before, (names[segment_id], in_languages[segment_id]))
            cells.setdefault(segment_id, dict.fromkeys(shown))[record.run_id] = change
    order = sorted(cells, key=lambda segment_id: (len(segment_id), segment_id))
    return Lineage(
        trainings=[dates[run] for run in shown],
        rows=[
            LineageRow(
                segment_id=segment_id,
                name=names[segment_id],
                names=in_languages[segment_id],
                cells=list(cells[segment_id].values()),
            )
            for segment_id in order
        ],
    )


def _change(record: LineageRecord, before: tuple[str, Texts], now: tuple[str, Texts]) -> Change:
    """A row with its earlier name, if the name has changed; ``before``, ``now``: a name, and it by language."""
    was, was_names = before
    name, names = now
    changed = {language: text for language, text in was_names.items() if text != names.get(language, text)}
    return Change(
        verdict=record.verdict,
        is_here=record.is_here,
        related=record.related,
        jaccard=record.jaccard,
        # If the earlier training was in another language, its name may be one of the current names.
        was="" if was in (name, *names.values()) else was,
        was_names=changed if was_names and names else None,
    )


def change_text(change: Change | None, words: Wording) -> str:
    """What became of a segment in one training, in words; empty if it was not there."""
    if change is None:
        return ""
    if change.verdict == "survived":
        same = words("changes.same", value=words.fixed(change.jaccard or 0.0))
        was = change.was if change.was_names is None else change.was_names.get(words.language)
        return words("changes.renamed", same=same, name=was) if was else same
    keys = {"split": ("split", "part_of"), "merged": ("merged", "includes"), "new": ("new", "new")}
    key = keys.get(change.verdict, ("gone", "gone"))[change.is_here]
    return words(f"changes.{key}", names=", ".join(change.related))


def lineage_text(records: Sequence[LineageRecord]) -> str:
    """`lineage_table` for the terminal; empty until there are two trainings."""
    table, words = lineage_table(records), wording("en")
    if not table.rows:
        return ""
    rows = [[row.segment_id, row.name, *(change_text(cell, words) for cell in row.cells)] for row in table.rows]
    dates = [moment[:10] for moment in table.trainings]
    return "\n".join(align_columns([["Segments over trainings", "", *dates], *rows], max_chars=MAX_CHANGE_CHARS))
