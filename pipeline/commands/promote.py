"""`kindred promote RUN`: makes a run's model the champion, unless it is worse than the current one."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.report import publish
from pipeline.report.terminal import align_columns
from pipeline.stores import files, mlflow_runs, model_registry

STABILITY = ("stability_mean", "stability_min")
"""Metrics of each facet; the full name is the facet, a slash and the metric."""
VALIDITY = ("validity/buys_auc", "validity/spend_r2", "validity/category_auc")
"""How well segments predict behaviour after as_of; only trainings that could measure it have these metrics."""


def tolerances(figures: Mapping[str, float], params: Params) -> dict[str, float]:
    """The metrics that decide a promotion, and how much worse each may be."""
    settings = params.promote
    stability = [name for name in figures if name.rpartition("/")[2] in STABILITY]
    return dict.fromkeys(stability, settings.tolerance) | {
        name: settings.validity_tolerance for name in VALIDITY if name in figures
    }


def worse_in(figures: Mapping[str, float], other: Mapping[str, float], params: Params) -> list[str]:
    """Metrics in which a run is worse than another by more than the tolerance; only metrics that both have count."""
    return [
        name
        for name, tolerance in tolerances(figures, params).items()
        if name in other and figures[name] < other[name] - tolerance
    ]


def promote(params: Params, run: str, *, force: bool) -> str:
    """Make the model of a run the champion, and put its report and segments in the outputs folder.

    Raises
    ------
    UserError
        The run does not exist or has no model, or a metric is worse by more than the tolerance and ``force`` is not
        set.
    """
    with files.lock(params.path(params.outputs.folder)):
        return _promote(params, run, force=force)


def _promote(params: Params, run: str, *, force: bool) -> str:
    store = mlflow_runs.open_store(params)
    run_id, version = model_registry.version_of_run(store, run)
    figures = mlflow_runs.read_run(store, run_id).metrics
    with mlflow_runs.one_at_a_time(params):
        champion = model_registry.champion_run(store)
        before = mlflow_runs.read_run(store, champion).metrics if champion is not None and champion != run_id else {}
        compared = [name for name in tolerances(figures, params) if name in before]
        rows = [[name, f"{figures[name]:.3f}", f"{before[name]:.3f}"] for name in compared]
        lines = align_columns([["Metric", "This run", "Champion"], *rows], right={1, 2}) if rows else []
        worse = worse_in(figures, before, params)
        if worse and not force:
            raise UserError(
                f"expected a run no worse than the champion by more than {params.promote.tolerance:g} in stability and "
                f"{params.promote.validity_tolerance:g} in prediction (see promote in params.yaml), but it is worse in "
                f"{' and '.join(worse)}:\n  "
                + "\n  ".join(lines)
                + "\nCompare both with `kindred compare`. To promote the run anyway, add --force; this is recorded."
            )
        model_registry.promote(store, version, forced=worse)
    forced = (
        f"Forced, although worse in {' and '.join(worse)}; this is recorded with the model version" if worse else ""
    )
    lines.append(f"models:/{params.tracking.model_name}/{version} is the champion: kindred score will now use it")
    return "\n".join([*lines, *([forced] if forced else []), _publish_report(store, params, run_id)])


def _publish_report(store: mlflow_runs.RunStore, params: Params, run_id: str) -> str:
    """Where its report is now; a run of an older version, which has none that can be made again, is promoted too."""
    try:
        summary = publish.current_summary(store, run_id)
        path = publish.publish_run(params, mlflow_runs.origin(store, run_id), summary)
    except files.OutputError as error:
        raise UserError(f"The run is now the champion, but its report could not be written. {error}") from None
    except UserError as error:
        return (
            f"Its report and segments could not be written, so the outputs folder still has the previous ones: {error}"
        )
    return f"Report   {path} and its segments now come from run {run_id}"
