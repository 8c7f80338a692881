"""`kindred rename`: a name given by hand, which belongs to the segment and outlasts trainings."""

from __future__ import annotations

import difflib
from typing import Any

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.report import publish
from pipeline.report.next_steps import command
from pipeline.segmentation.name_proposals import clean_name
from pipeline.stores import files, mlflow_runs, model_registry


def rename(params: Params, segment: str, name: str | None) -> str:
    """Call a segment of the champion ``name`` from now on, or as its figures say again where there is none.

    Parameters
    ----------
    segment : str
        Its segment_id, or what it is called now.

    Raises
    ------
    UserError
        There is no champion or no such segment, another one is called so, or another command is writing results.
    """
    with files.lock(params.path(params.outputs.folder)):
        mlflow = mlflow_runs.open_store(params)
        with mlflow_runs.one_at_a_time(params):  # or two could give one name to two segments
            champion = model_registry.load_model(mlflow, params.tracking.champion_uri)
            called, taken = _called_now(mlflow, params, champion.run_id)
            own = _the_one(segment, called, champion.uri)
            clean = clean_name(name) if name is not None else None
            if clean in [now for segment_id, now in taken.items() if segment_id != own]:
                raise UserError(f"expected a name that no other segment has; {clean!r} is taken.")
            model_registry.give_name(mlflow, params, own, clean)
        what = f"is called {clean!r} from now on" if clean else "is named by its figures again"
        return "\n".join(
            [
                f"{own} ({called[own]}) {what}, in scores, reports and trainings to come",
                _told_anew(mlflow, params, champion.run_id),
                f"Next     {command(params, 'score')}    # scores written before keep the old name",
            ]
        )


def _told_anew(mlflow: Any, params: Params, run_id: str) -> str:
    """Where the champion's report and segments have the name; or how to have it there."""
    try:
        if publish.is_in_place(params, run_id):
            told = publish.remade(mlflow, params, run_id)
            path = publish.put_in_place(mlflow, params, mlflow_runs.origin(mlflow, run_id), told)
            return f"Report   {path} and the segments beside it have it, too"
        why = "the outputs folder holds none of the champion's"
    except UserError as error:
        why = str(error).rstrip(".")
    return f"Report   not made again: {why}. To have one: {command(params, 'report')}"


def _called_now(mlflow: Any, params: Params, run_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """segment_id -> name, of the segments that can be renamed, and of all."""
    _, _, told = mlflow_runs.read_run(mlflow, run_id)
    rows = told.get("segments", [])
    names = _names(rows, model_registry.given_names(mlflow, params), told.get("language", params.language))
    return {one["segment_id"]: names[one["segment_id"]] for one in rows if not one["is_standing"]}, names


def names_in(mlflow: Any, params: Params, run_id: str) -> dict[str, str]:
    """segment_id -> name in ``params.language``, of the segments of a run; none where the run is gone."""
    try:
        _, _, told = mlflow_runs.read_run(mlflow, run_id)
    except mlflow_runs.TrackingError:
        return {}
    return _names(told.get("segments", []), model_registry.given_names(mlflow, params), params.language)


def _names(rows: list[dict[str, Any]], given: dict[str, str], language: str) -> dict[str, str]:
    """segment_id -> the name given by hand, else the one by figures, which runs of before call by ``names`` alone."""
    return {
        one["segment_id"]: given.get(one["segment_id"]) or one.get("names_by_figures", one["names"])[language]
        for one in rows
    }


def _the_one(segment: str, called: dict[str, str], model_uri: str) -> str:
    found = [segment_id for segment_id, now in called.items() if segment in (segment_id, now)]
    if found:
        return found[0]
    known = {one.lower(): one for one in (*called, *called.values())}
    near = difflib.get_close_matches(segment.lower(), known, n=1, cutoff=0.0)
    raise UserError(
        f"expected a segment of {model_uri}, found none called {segment[:60]!r}."
        + (f" The nearest is {known[near[0]]!r}." if near else " It has no segments that can be renamed.")
    )
