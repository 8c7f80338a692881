"""`kindred compare`: runs side by side, what came of them, how customers flow between them, and which to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import registry, tracking
from pipeline.flow import flows
from pipeline.params import Params
from pipeline.profiles import Progress
from pipeline.promote import JUDGED, worse_in
from pipeline.report.comparison import as_text, comparison
from pipeline.report.render import render_template

SHORT_ID = 12
NO_FLOW = "How customers flow between the segments is told with --flow, which reads the source and asks each model."


def compare(params: Params, runs: Sequence[str], *, flow: bool, progress: Progress) -> str:
    """Runs in words; the same as one HTML file among the artifacts of each, with a figure of the flow.

    Parameters
    ----------
    flow : bool
        Whether the customers of the source are to be scored with the model of each run.

    Raises
    ------
    TrackingError
        A run does not exist, or there are fewer than two.
    """
    mlflow = tracking.open_store(params)
    ids = list(dict.fromkeys(tracking.whole_run_id(mlflow, run) for run in runs))
    if len(ids) < 2:
        raise tracking.TrackingError(
            "kindred compare: expected two different runs or more. See their ids in `make ui`."
        )
    champion = registry.champion_run(mlflow, params)
    given = registry.given_names(mlflow, params)
    read = [_read(mlflow, run, given, is_champion=run == champion) for run in ids]
    found, reason = flows(mlflow, params, ids, progress=progress) if flow else ([], NO_FLOW)
    note = f"How customers flow cannot be told: {reason}" if flow and reason else reason or ""
    told = comparison(read, found, advice=advice(read, params), flow_note=note)
    places = tracking.log_comparison(mlflow, ids, render_template("compare.html.j2", **told))
    return f"{as_text(told)}\n\nReport   {places[0]}"


def _read(mlflow: Any, run_id: str, given: Mapping[str, str], *, is_champion: bool) -> dict[str, Any]:
    settings, figures, summary = tracking.read_run(mlflow, run_id)
    names = {one["segment_id"]: given.get(one["segment_id"], one["name"]) for one in summary.get("segments", [])}
    label = run_id[:SHORT_ID] + (" (champion)" if is_champion else "")
    return {
        **{"label": label, "params": settings, "figures": figures, "summary": summary, "names": names},
        "is_champion": is_champion,
    }


def advice(runs: Sequence[Mapping[str, Any]], params: Params) -> str:
    """Which run to take, and why: one that is worse than no other, in what `kindred promote` looks at.

    The champion stays where it is one of these; else the fewest segments count, then stability.

    Parameters
    ----------
    runs : sequence of mapping
        label, is_champion, figures, params, summary.
    """
    figures = [run["figures"] for run in runs]
    judged = [name for name in JUDGED if sum(name in one for one in figures) > 1]
    if not judged:
        return f"No advice: the runs have none of {', '.join(JUDGED)} in common."
    lost = [[worse_in(one, other, params) for other in figures] for one in figures]
    good = [place for place in range(len(runs)) if not any(lost[place])]
    beware = _unlike_data(runs)
    if not good:
        where = "; ".join(
            f"{run['label']} in {', '.join(sorted(set().union(*rows)))}" for run, rows in zip(runs, lost, strict=True)
        )
        return f"No run is to be preferred: each is worse than another, {where}. Decide what counts more.{beware}"
    order = {place: _preference(runs[place]) for place in good}
    best = min(good, key=order.__getitem__)
    behind = [(run["label"], rows[best]) for run, rows in zip(runs, lost, strict=True) if rows[best]]
    why = "; ".join(f"{label} is worse in {', '.join(names)}" for label, names in behind)
    why = why or "no run is better by more than promote tolerates"
    name = runs[best]["label"]
    if runs[best]["is_champion"]:
        return f"Keep {name}: {why}.{beware}"
    fewest = ", and of those that are no worse it has the fewest segments" if len(good) > 1 else ""
    return f"Take {name} (kindred promote): {why}{fewest}.{beware}"


def _preference(run: Mapping[str, Any]) -> tuple[Any, ...]:
    figures = run["figures"]
    return not run["is_champion"], figures.get("n_segments", 0.0), -figures.get("stability_mean", 0.0), run["label"]


def _unlike_data(runs: Sequence[Mapping[str, Any]]) -> str:
    """A warning where figures are not of the same data."""
    dates = {run["params"].get("as_of") for run in runs}
    digests = {run["summary"].get("reading", {}).get("digest") for run in runs}
    if len(dates) > 1:
        return " Beware: they were trained as of different moments, so figures are not of the same customers."
    return " Beware: they were trained on different data." if len(digests) > 1 else ""
