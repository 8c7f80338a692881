"""`kindred rename`: gives a segment a manual name that later trainings keep."""

from __future__ import annotations

import difflib
from typing import Any

from models.segment_names import SegmentNames
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.report import publish
from pipeline.report.next_steps import command
from pipeline.segmentation.name_proposals import clean_name
from pipeline.stores import files, mlflow_runs, model_registry
from pipeline.stores.store_errors import TrackingError


def rename(params: Params, segment: str, name: str | None) -> str:
    """Give a segment of the champion a manual name, or its automatic name again if ``name`` is None.

    Parameters
    ----------
    segment : str
        Its segment_id or current name.

    Raises
    ------
    UserError
        The champion or the segment does not exist, the name is taken, or another command is writing results.
    """
    with files.lock(params.path(params.outputs.folder)):
        store = mlflow_runs.open_store(params)
        with mlflow_runs.one_at_a_time(params):  # two renames at once could give two segments the same name
            champion = model_registry.load_model(store, params.tracking.champion_uri)
            renamable, taken = current_names(store, params, champion.run_id)
            # A renaming that was interrupted is found by the name that the segment had before it.
            unfinished, old_name = model_registry.unfinished_renaming(store)
            is_again = unfinished in renamable and segment == old_name and segment not in renamable.values()
            segment_id = unfinished if is_again else _find_segment(segment, renamable, champion.uri)
            before = old_name if is_again else renamable[segment_id]
            clean = clean_name(name) if name is not None else None
            if clean is not None:
                _require_distinct(clean, segment_id, taken)
            with model_registry.renaming(store, segment_id, before):
                model_registry.set_given_name(store, segment_id, clean)
                report = _update_report(store, params, champion.run_id)
        change = f"is now called {clean!r}" if clean else "has its automatic name again"
        return "\n".join(
            [
                f"{segment_id} ({before}) {change} in all future scores, reports and trainings",
                report,
                f"Next     {command(params, 'score')}    # existing scores keep the old name",
            ]
        )


def _require_distinct(name: str, segment_id: str, taken: dict[str, str]) -> None:
    """Refuse a name by which another segment, of any facet, can be meant: its name in any case, or its id."""
    for other_id, other in taken.items():
        if other_id == segment_id:
            continue
        if name.casefold() == other.casefold():
            raise UserError(f"expected a name that no other segment has; {other!r} ({other_id}) is taken.")
        if name.casefold() == other_id.casefold():
            raise UserError(f"expected a name that is not the id of another segment; {other_id} is {other!r}.")


def _update_report(store: mlflow_runs.RunStore, params: Params, run_id: str) -> str:
    """Update the champion's report and segments; says where they are, or how to update them by hand."""
    try:
        if publish.is_published(params, run_id):
            summary = publish.current_summary(store, run_id)
            path = publish.publish_run(params, mlflow_runs.origin(store, run_id), summary)
            return f"Report   {path} and its segments use the new name"
        reason = "the outputs folder does not contain the champion's report"
    except UserError as error:
        reason = str(error).rstrip(".")
    return f"Report   not updated: {reason}. To create one: {command(params, 'report')}"


def current_names(store: mlflow_runs.RunStore, params: Params, run_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """segment_id -> name, for the segments that can be renamed and for all segments."""
    summary = mlflow_runs.read_run(store, run_id).summary
    rows = summary.get("segments", [])
    names = _names(rows, model_registry.given_names(store), summary.get("language", params.language))
    return {row["segment_id"]: names[row["segment_id"]] for row in rows if not row["is_standing"]}, names


def names_in(store: mlflow_runs.RunStore, params: Params, run_id: str) -> dict[str, str]:
    """segment_id -> name in ``params.language`` for the segments of a run; empty if the run was deleted."""
    try:
        summary = mlflow_runs.read_run(store, run_id).summary
    except TrackingError:
        return {}
    return _names(summary.get("segments", []), model_registry.given_names(store), params.language)


def _names(rows: list[dict[str, Any]], given: dict[str, str], language: str) -> dict[str, str]:
    """segment_id -> manual name, or else the automatic one. Older runs have only ``names``."""
    return {
        row["segment_id"]: SegmentNames.from_dict(row).with_given(given.get(row["segment_id"])).shown(language)
        for row in rows
    }


def _find_segment(segment: str, names: dict[str, str], model_uri: str) -> str:
    matches = [segment_id for segment_id, name in names.items() if segment in (segment_id, name)]
    if matches:
        return matches[0]
    known = {text.lower(): text for text in (*names, *names.values())}
    near = difflib.get_close_matches(segment.lower(), known, n=1, cutoff=0.0)
    raise UserError(
        f"expected a segment of {model_uri}, found none named {segment[:60]!r}."
        + (f" Did you mean {known[near[0]]!r}?" if near else " It has no segments that can be renamed.")
    )
