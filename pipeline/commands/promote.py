"""`kindred promote RUN`: which model scores from now on, unless it is worse than the one that does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.report import publish
from pipeline.stores import files, mlflow_runs, model_registry

STABILITY = ("stability_mean", "stability_min")
"""Figures of each facet, after its name and a slash."""
VALIDITY = ("validity_buys_auc", "validity_spend_r2", "validity_category_auc")
"""What segments predict of the time after as_of; only trainings that could measure it have these."""


def tolerances(figures: Mapping[str, float], params: Params) -> dict[str, float]:
    """The figures of a run that runs are judged by, and by how much each may be worse."""
    settings = params.promote
    stability = [name for name in figures if name.rpartition("/")[2] in STABILITY]
    return dict.fromkeys(stability, settings.tolerance) | {
        name: settings.validity_tolerance for name in VALIDITY if name in figures
    }


def worse_in(figures: Mapping[str, float], other: Mapping[str, float], params: Params) -> list[str]:
    """Figures in which a run is worse than another by more than is tolerated; those that both have are looked at."""
    return [
        name
        for name, tolerance in tolerances(figures, params).items()
        if name in other and figures[name] < other[name] - tolerance
    ]


def promote(params: Params, run: str, *, force: bool) -> str:
    """Make the model of a run the champion, and its report and segments those of the outputs folder.

    Raises
    ------
    UserError
        There is no such run, it has no model, or, unforced, a figure is worse by more than `promote` tolerates.
    """
    with files.lock(params.path(params.outputs.folder)):
        return _promote(params, run, force=force)


def _promote(params: Params, run: str, *, force: bool) -> str:
    mlflow = mlflow_runs.open_store(params)
    run_id, version = model_registry.version_of_run(mlflow, params, run)
    _, figures, _ = mlflow_runs.read_run(mlflow, run_id)
    with mlflow_runs.one_at_a_time(params):
        champion = model_registry.champion_run(mlflow, params)
        before = mlflow_runs.read_run(mlflow, champion)[1] if champion is not None and champion != run_id else {}
        lines = [
            f"{name:<26}{figures[name]:>8.3f}   champion {before[name]:.3f}"
            for name in tolerances(figures, params)
            if name in before
        ]
        worse = worse_in(figures, before, params)
        if worse and not force:
            raise UserError(
                f"expected a run no worse than the champion by more than {params.promote.tolerance:g} in stability and "
                f"{params.promote.validity_tolerance:g} in what segments foretell (see promote in params.yaml); "
                f"{' and '.join(worse)} {'is' if len(worse) == 1 else 'are'}:\n  "
                + "\n  ".join(lines)
                + "\nLook at both with `kindred compare`; to promote it all the same, add --force, which is recorded."
            )
        model_registry.promote(mlflow, params, version, forced=worse)
    forced = f"Forced, though worse in {' and '.join(worse)}; noted with the version" if worse else ""
    lines.append(f"models:/{params.tracking.model_name}/{version} is the champion: kindred score uses it from now on")
    return "\n".join([*lines, *([forced] if forced else []), _put_in_place(mlflow, params, run_id)])


def _put_in_place(mlflow: Any, params: Params, run_id: str) -> str:
    """Where its report is now; a run of an older version, which has none that can be made again, is promoted too."""
    try:
        told = publish.remade(mlflow, params, run_id)
        path = publish.put_in_place(mlflow, params, mlflow_runs.origin(mlflow, run_id), told)
    except files.OutputError as error:
        raise UserError(f"The run is the champion now, but its report is not in place. {error}") from None
    except UserError as error:
        return f"Its report and segments could not be put in the outputs folder, which holds the last ones: {error}"
    return f"Report   {path} and the segments beside it are now those of run {run_id}"
