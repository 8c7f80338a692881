"""`kindred compare`: shows runs side by side, how customers move between them, and which run to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from pipeline.commands.migration import names_by_rule
from pipeline.commands.promote import STABILITY, VALIDITY, tolerances, worse_in
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.report.comparison import Advice, ComparedRun, as_text, comparison
from pipeline.report.pages.render import render_template
from pipeline.report.publish import SHORT_ID
from pipeline.report.summary import read_summary
from pipeline.report.texts.wording import wording
from pipeline.scoring.flow import flows
from pipeline.stores import mlflow_runs, model_registry
from pipeline.stores.mlflow_runs import LINEAGE, RunStore
from pipeline.stores.run_log import start_run
from pipeline.stores.store_errors import TrackingError

PAGE = "compare.html"


def compare(params: Params, runs: Sequence[str], *, flow: bool, progress: Progress) -> str:
    """Compare runs; returns the comparison as text and logs it as an HTML page, in a run of its own.

    The text is in English, the page in ``params.language``. The page also has a figure of the flow.

    Parameters
    ----------
    flow : bool
        Whether to score the customers of the source with each run's model.

    Raises
    ------
    TrackingError
        A run does not exist, or fewer than two different runs are named.
    """
    store = mlflow_runs.open_store(params)
    ids = list(dict.fromkeys(mlflow_runs.full_run_id(store, run) for run in runs))
    if len(ids) < 2:
        raise TrackingError("kindred compare: expected at least two different runs. Run `make ui` to see their ids.")
    champion, given = model_registry.champion_run(store), model_registry.given_names(store)
    read_runs = [_read(store, run, is_champion=run == champion) for run in ids]
    share_lineage = [bool(run.line & following.line) for run, following in pairwise(read_runs)]
    flow_tables, reason = (
        flows(store, params, ids, share_lineage=share_lineage, progress=progress) if flow else ([], None)
    )
    best = advice(read_runs, params)

    def contents(language: str | None) -> dict[str, Any]:
        """The comparison in a language; None: in English, with the names the trainings used."""
        named = [replace(run, names=segment_names(run, given, params, language)) for run in read_runs]
        words = wording(language or "en", params.currency)
        note = words("compare.no_flow") if not flow else words("compare.flow_failed", why=reason) if reason else ""
        return comparison(named, flow_tables, words, advice=best, flow_note=note)

    page = render_template("compare.html.j2", words=wording(params.language), **contents(params.language))
    location = _log(store, ids, page, best.text(wording("en")))
    return f"{as_text(contents(None), wording('en'))}\n\nReport   {location}"


def _log(store: RunStore, ids: Sequence[str], page: str, advice_text: str) -> str:
    """Log the page in a run of its own, as the compared runs are finished; returns the location of the page."""
    first, *others = [run_id[:SHORT_ID] for run_id in ids]
    name = f"Compare {first} with {' and '.join(others)}"
    with start_run(store, name=name, tags={"kindred.compares": ", ".join(ids)}) as run:
        run.describe(f"{advice_text} The comparison is in the artifact `{PAGE}`.")
        run.log_text(page, PAGE)
        return run.location(PAGE)


def _read(store: RunStore, run_id: str, *, is_champion: bool) -> ComparedRun:
    record = mlflow_runs.read_run(store, run_id)
    summary = read_summary(run_id, record.summary) if record.summary.get("segments") else None
    try:
        line = {str(row["run_id"]) for row in mlflow_runs.read_lineage(store, run_id, LINEAGE)}
    except TrackingError:  # the lineage file is damaged
        line = set()
    return ComparedRun(
        label=run_id[:SHORT_ID] + (" (champion)" if is_champion else ""),
        params=record.params,
        figures=record.metrics,
        segments=summary.segments if summary else [],
        line=frozenset(line | {run_id}),
        is_champion=is_champion,
        is_finished=mlflow_runs.origin(store, run_id).is_finished,
        language=summary.language if summary else "",
        digest=summary.reading.digest if summary else "",
    )


def segment_names(run: ComparedRun, given: Mapping[str, str], params: Params, language: str | None) -> dict[str, str]:
    """segment_id -> manual name, or else the automatic name in ``language`` or, without one, as the training had it."""
    # The summary has no row for rule-based groups that were empty at training.
    shown_in = language or run.language or params.language
    shown = names_by_rule(params, shown_in)
    for segment in run.segments:
        names = segment.all_names.with_given(given.get(segment.segment_id))
        shown[segment.segment_id] = names.shown(shown_in) if language or names.given else segment.name
    return shown


def advice(runs: Sequence[ComparedRun], params: Params) -> Advice:
    """Recommend a run that is not worse than any other in the metrics of `kindred promote`.

    If several qualify, the champion is kept; otherwise the run with fewest segments wins, then the most stable.
    """
    figures = [run.figures for run in runs]
    judged = {name for run_figures in figures for name in tolerances(run_figures, params)}
    if not any(sum(name in run_figures for run_figures in figures) > 1 for name in judged):
        return Advice("none", judged=(*STABILITY, *VALIDITY))
    worse = [[worse_in(run_figures, other, params) for other in figures] for run_figures in figures]
    good = [index for index in range(len(runs)) if not any(worse[index])]
    warning = _data_difference(runs)
    if not good:
        behind = {run.label: sorted(set().union(*rows)) for run, rows in zip(runs, worse, strict=True)}
        return Advice("undecided", behind=behind, warning=warning)
    order = {index: _preference(runs[index]) for index in good}
    best = min(good, key=order.__getitem__)
    behind = {run.label: rows[best] for run, rows in zip(runs, worse, strict=True) if rows[best]}
    verdict = "keep" if runs[best].is_champion else "take_fewest" if len(good) > 1 else "take"
    return Advice(verdict, label=runs[best].label, behind=behind, warning=warning)


def _preference(run: ComparedRun) -> tuple[bool, float, float, str]:
    sums = {
        name: sum(value for key, value in run.figures.items() if key.rpartition("/")[2] == name)
        for name in ("n_segments", "stability_mean")
    }
    return not run.is_champion, sums["n_segments"], -sums["stability_mean"], run.label


def _data_difference(runs: Sequence[ComparedRun]) -> str:
    """Why the runs are not comparable: "dates" or "data", whichever differs; empty if they are."""
    dates = {run.params.get("as_of") for run in runs}
    digests = {run.digest for run in runs}
    return "dates" if len(dates) > 1 else "data" if len(digests) > 1 else ""
