"""`kindred promote RUN`: which model scores from now on, unless it is worse than the one that does."""

from __future__ import annotations

from pipeline import tracking
from pipeline.params import Params, UserError

JUDGED = ("stability_mean", "stability_min")
"""Figures that must not be worse; what segments foretell joins them once trainings measure it."""


def promote(params: Params, run: str, *, force: bool) -> str:
    """Make the model of a run the champion.

    Raises
    ------
    UserError
        There is no such run, it has no model, or, unforced, a figure is worse by more than `promote.tolerance`.
    """
    mlflow = tracking.open_store(params)
    run_id, version = tracking.version_of_run(mlflow, params, run)
    _, figures, _ = tracking.read_run(mlflow, run_id)
    champion = tracking.champion_run(mlflow, params)
    lines, worse = [], []
    if champion is not None and champion != run_id:
        _, before, _ = tracking.read_run(mlflow, champion)
        for name in JUDGED:
            if name in figures and name in before:
                lines.append(f"{name:<16}{figures[name]:>8.3f}   champion {before[name]:.3f}")
                if figures[name] < before[name] - params.promote.tolerance:
                    worse.append(name)
    if worse and not force:
        raise UserError(
            f"expected a run no worse than the champion by more than {params.promote.tolerance:g} (promote.tolerance); "
            f"{' and '.join(worse)} {'is' if len(worse) == 1 else 'are'}:\n  "
            + "\n  ".join(lines)
            + "\nLook at both with `kindred compare`; to promote it all the same, add --force, which is recorded."
        )
    tracking.promote(mlflow, params, version, forced=worse)
    forced = f"Forced, though worse in {' and '.join(worse)}; noted with the version" if worse else ""
    lines.append(f"models:/{params.tracking.model_name}/{version} is the champion: kindred score uses it from now on")
    return "\n".join([*lines, *([forced] if forced else [])])
