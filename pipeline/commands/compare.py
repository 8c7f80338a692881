"""`kindred compare`: runs side by side, what came of them, how customers flow between them, and which to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pipeline.commands.migration import names_by_rule
from pipeline.commands.promote import STABILITY, VALIDITY, tolerances, worse_in
from pipeline.config.params import Params
from pipeline.profiles.build import Progress
from pipeline.report.comparison import Advice, as_text, comparison
from pipeline.report.pages.render import render_template
from pipeline.report.texts.wording import wording
from pipeline.scoring.flow import flows
from pipeline.stores import mlflow_runs, model_registry
from pipeline.stores.mlflow_runs import LINEAGE

SHORT_ID = 12


def compare(params: Params, runs: Sequence[str], *, flow: bool, progress: Progress) -> str:
    """Runs in words; the same as one HTML file among the artifacts of each, with a figure of the flow.

    The words are English, the file is in ``params.language``.

    Parameters
    ----------
    flow : bool
        Whether the customers of the source are to be scored with the model of each run.

    Raises
    ------
    TrackingError
        A run does not exist, or there are fewer than two.
    """
    mlflow = mlflow_runs.open_store(params)
    ids = list(dict.fromkeys(mlflow_runs.whole_run_id(mlflow, run) for run in runs))
    if len(ids) < 2:
        raise mlflow_runs.TrackingError(
            "kindred compare: expected two different runs or more. See their ids in `make ui`."
        )
    champion = model_registry.champion_run(mlflow, params)
    given = model_registry.given_names(mlflow, params)
    read = [_read(mlflow, run, is_champion=run == champion) for run in ids]
    are_akin = [bool(one["line"] & other["line"]) for one, other in pairwise(read)]
    found, reason = flows(mlflow, params, ids, are_akin=are_akin, progress=progress) if flow else ([], None)
    best = advice(read, params)

    def told(language: str | None) -> dict[str, Any]:
        """In a language; in none: in English, with names as the trainings tell them."""
        named = [run | {"names": _names(run["summary"], given, params, language)} for run in read]
        words = wording(language or "en", params.currency)
        note = words("compare.no_flow") if not flow else words("compare.flow_failed", why=reason) if reason else ""
        return comparison(named, found, words, advice=best, flow_note=note)

    page = render_template("compare.html.j2", words=wording(params.language), **told(params.language))
    places = mlflow_runs.log_comparison(mlflow, ids, page)
    return f"{as_text(told(None), wording('en'))}\n\nReport   {places[0]}"


def _read(mlflow: Any, run_id: str, *, is_champion: bool) -> dict[str, Any]:
    settings, figures, summary = mlflow_runs.read_run(mlflow, run_id)
    try:
        line = {str(row["run_id"]) for row in mlflow_runs.read_lineage(mlflow, run_id, LINEAGE)}
    except mlflow_runs.TrackingError:  # damaged
        line = set()
    label = run_id[:SHORT_ID] + (" (champion)" if is_champion else "")
    return {
        **{"label": label, "params": settings, "figures": figures, "summary": summary, "line": line | {run_id}},
        "is_champion": is_champion,
    }


def _names(
    summary: Mapping[str, Any], given: Mapping[str, str], params: Params, language: str | None
) -> dict[str, str]:
    """segment_id -> the name given by hand, else the one by figures in a language, or as the training has it."""
    # Of groups that nobody was in at training the summary says nothing.
    return names_by_rule(params, language or summary.get("language", params.language)) | {
        one["segment_id"]: given.get(one["segment_id"])
        or (one.get("names_by_figures", one["names"])[language] if language else one["name"])
        for one in summary.get("segments", [])
    }


def advice(runs: Sequence[Mapping[str, Any]], params: Params) -> Advice:
    """Which run to take, and why: one that is worse than no other, in what `kindred promote` looks at.

    The champion stays where it is one of these; else the fewest segments count, then stability.

    Parameters
    ----------
    runs : sequence of mapping
        label, is_champion, figures, params, summary.
    """
    figures = [run["figures"] for run in runs]
    judged = {name for one in figures for name in tolerances(one, params)}
    if not any(sum(name in one for one in figures) > 1 for name in judged):
        return Advice("none", judged=(*STABILITY, *VALIDITY))
    lost = [[worse_in(one, other, params) for other in figures] for one in figures]
    good = [place for place in range(len(runs)) if not any(lost[place])]
    beware = _unlike_data(runs)
    if not good:
        behind = {run["label"]: sorted(set().union(*rows)) for run, rows in zip(runs, lost, strict=True)}
        return Advice("undecided", behind=behind, beware=beware)
    order = {place: _preference(runs[place]) for place in good}
    best = min(good, key=order.__getitem__)
    behind = {run["label"]: rows[best] for run, rows in zip(runs, lost, strict=True) if rows[best]}
    verdict = "keep" if runs[best]["is_champion"] else "take_fewest" if len(good) > 1 else "take"
    return Advice(verdict, label=runs[best]["label"], behind=behind, beware=beware)


def _preference(run: Mapping[str, Any]) -> tuple[Any, ...]:
    sums = {
        name: sum(value for key, value in run["figures"].items() if key.rpartition("/")[2] == name)
        for name in ("n_segments", "stability_mean")
    }
    return not run["is_champion"], sums["n_segments"], -sums["stability_mean"], run["label"]


def _unlike_data(runs: Sequence[Mapping[str, Any]]) -> str:
    """Why figures are not of the same data: moments, data; empty where they are."""
    dates = {run["params"].get("as_of") for run in runs}
    digests = {run["summary"].get("reading", {}).get("digest") for run in runs}
    return "moments" if len(dates) > 1 else "data" if len(digests) > 1 else ""
