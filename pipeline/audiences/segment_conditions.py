"""The segments that conditions name: found by name or id, and what became of those that are not there any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ibis.expr.types as ir

from pipeline.audiences.selection import AudienceError, Condition, closest
from pipeline.config.sections.audiences import Bounds
from pipeline.stores import mlflow_runs, model_registry
from pipeline.stores.mlflow_runs import RunStore
from pipeline.stores.store_errors import TrackingError

Names = Mapping[str, str]
"""segment_id -> name."""


@dataclass(frozen=True)
class SegmentHistory:
    """What the run of a model knows of its segments and of those before them.

    Attributes
    ----------
    names : dict of str to str
        segment_id -> name of every segment of the model, also of one that no customer is in.
    lineage : list of dict
        Rows of `models.identity.Identities` with as_of, name and names, oldest first.
    given_names : dict of str to str
        segment_id -> the name given by hand.
    """

    names: dict[str, str] = field(default_factory=dict)
    lineage: list[dict[str, Any]] = field(default_factory=list)
    given_names: dict[str, str] = field(default_factory=dict)


def read_history(runs: RunStore, run_id: str) -> SegmentHistory:
    """The history of the model of a run; empty if the run was deleted."""
    try:
        rows = mlflow_runs.read_run(runs, run_id).summary.get("segments", [])
        lineage = mlflow_runs.read_lineage(runs, run_id, mlflow_runs.LINEAGE)
    except TrackingError:
        return SegmentHistory()
    names = {row["segment_id"]: row["name"] for row in rows}
    return SegmentHistory(names, lineage, model_registry.given_names(runs))


def scored_segments(con: Any, scores: ir.Table) -> dict[str, dict[str, str]]:
    """Column of a segment's name -> the segments that customers are in."""
    columns = [name for name in scores.columns if name.endswith("segment") and f"{name}_id" in scores.columns]
    found = {}
    for column in columns:
        pairs = con.to_pandas(scores.select(f"{column}_id", column).distinct().drop_null().order_by(f"{column}_id"))
        found[column] = dict(pairs.itertuples(index=False, name=None))
    return found


def segment_name(text: str, names: Names) -> str | None:
    """The name of the segment that has this name, in any case, or this id."""
    if text in names.values():
        return text
    if text in names:
        return names[text]
    same = {name for name in names.values() if name.casefold() == text.casefold()}
    return same.pop() if len(same) == 1 else None


def require_segments(
    where: Mapping[str, Condition],
    segments: Mapping[str, Names],
    history: Callable[[], SegmentHistory],
    *,
    labels: Mapping[str, str],
) -> None:
    """Refuse a condition on a segment that is not there.

    Parameters
    ----------
    segments : mapping
        Result of `scored_segments`.
    history : callable
        Called only where a segment is not in the scores.
    labels : mapping
        Column -> the key or option with its condition.

    Raises
    ------
    AudienceError
        Says what became of the segment, and which segments there are.
    """
    for column, condition in where.items():
        is_id = column.endswith("segment_id")
        names = segments.get(column.removesuffix("_id") if is_id else column)
        if names is None or isinstance(condition, Bounds):
            continue
        values = condition if isinstance(condition, Sequence) and not isinstance(condition, str) else [condition]
        known = set(names) if is_id else set(names.values())
        for value in values:
            if isinstance(value, str) and value not in known:
                _require_known_to_model(value, names, history(), label=labels[column], is_id=is_id)


def _require_known_to_model(value: str, names: Names, history: SegmentHistory, *, label: str, is_id: bool) -> None:
    if value in (history.names if is_id else history.names.values()) and not _renamed_id(value, names, history):
        return  # a segment of the model that no customer is in today
    now = ", ".join(sorted(f"{name} ({segment_id})" for segment_id, name in names.items()))
    raise AudienceError(
        f"{label}: expected a segment of the scores, got {value!r}, which is not one. "
        f"{_what_became(value, names, history)}Segments now: {now}."
    )


def _renamed_id(value: str, names: Names, history: SegmentHistory) -> str | None:
    """The segment that has had this name, now or earlier, if customers are in it under another one."""
    given = [segment_id for segment_id, name in history.given_names.items() if name == value]
    earlier = [row["segment_id"] for row in reversed(history.lineage) if value in _names_of(row)]
    modelled = [segment_id for segment_id, name in history.names.items() if name == value]
    return next((segment_id for segment_id in [*given, *modelled, *earlier] if segment_id in names), None)


def _what_became(value: str, names: Names, history: SegmentHistory) -> str:
    if renamed := _renamed_id(value, names, history):
        if history.given_names.get(renamed) == value:
            return f"{renamed} was given this name after these scores, which call it {names[renamed]!r}: score again. "
        return f"It is {renamed}, which is called {names[renamed]!r} now. "
    ids = [row["segment_id"] for row in reversed(history.lineage) if value in (row["segment_id"], *_names_of(row))]
    if ids:
        return _fate(ids[0], history, names)
    near = closest(value, [*names.values(), *names])
    return f"Did you mean {near!r}? " if near else ""


def _fate(segment_id: str, history: SegmentHistory, names: Names) -> str:
    """What became of a segment and, one after the other, of the segments that its customers went to."""
    sentences, waiting, seen = [], [segment_id], set()
    while waiting:
        current = waiting.pop(0)
        last = next((row for row in reversed(history.lineage) if row["segment_id"] == current), None)
        if current in seen or last is None or last["is_here"]:
            continue
        seen.add(current)
        targets = [f"{target} ({names[target]})" if target in names else target for target in last["related"]]
        verb = {"split": "was split into", "merged": "was merged into"}.get(last["verdict"])
        fate = f"{verb} {' and '.join(targets)} in" if verb and targets else "has been gone since"
        sentences.append(f"{_called(current, history)} {fate} the training of {last['as_of'][:10]}. ")
        waiting += [target for target in last["related"] if target not in names]
    return "".join(sentences) or f"It was {_called(segment_id, history)}, and no customer is in it. "


def _called(segment_id: str, history: SegmentHistory) -> str:
    names = [row["name"] for row in history.lineage if row["segment_id"] == segment_id and row.get("name")]
    return f"{segment_id} ({names[-1]})" if names else segment_id


def _names_of(row: Mapping[str, Any]) -> list[str]:
    return [row.get("name") or "", *(row.get("names") or {}).values()]
