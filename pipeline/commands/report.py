"""`kindred report`: rebuilds the report of a run, or writes its tables to a workbook."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.report.publish import SHORT_ID, current_summary, render_summary, version_error
from pipeline.report.workbook import write_workbook
from pipeline.stores import files, mlflow_runs, model_registry
from pipeline.stores.mlflow_runs import LINEAGE


def report(params: Params, run: str | None, *, language: str | None, out: Path | None, xlsx: bool) -> str:
    """Rebuild the report of a run, or write its tables to a workbook; returns a message with the file name.

    Parameters
    ----------
    run : str or None
        Run id or its first characters; None: the champion.
    language : str or None
        en, uk, ru or sq; None: the run's language.
    out : Path or None
        None: report-RUN.html or segments-RUN.xlsx in the outputs folder.

    Raises
    ------
    UserError
        The run does not exist, has no summary or a summary from another version, or ``out`` has the wrong suffix.
    """
    if out is not None and out.suffix.lower() not in ((".xlsx",) if xlsx else (".html", ".htm")):
        raise UserError(f"--out {out}: expected a file name ending in .xlsx with --xlsx, or in .html without it.")
    store = mlflow_runs.open_store(params)
    champion = model_registry.champion_run(store)
    if run is None and champion is None:
        raise UserError("kindred report: there is no champion yet. Name a RUN, or run `kindred train` first.")
    origin = mlflow_runs.origin(store, run or str(champion))
    summary = current_summary(store, origin.run_id, language)
    folder = params.path(params.outputs.folder)
    suffix = f"{origin.run_id[:SHORT_ID]}{f'-{language}' if language else ''}.{'xlsx' if xlsx else 'html'}"
    path = out or folder / f"{'segments' if xlsx else 'report'}-{suffix}"
    with files.lock(folder):
        if xlsx:
            _write_workbook(path, summary, mlflow_runs.read_lineage(store, origin.run_id, LINEAGE))
        else:
            files.write_text(path, render_summary(summary))
    label = " (the champion)" if origin.run_id == champion else ""
    return f"{'Workbook' if xlsx else 'Report  '} {path}\nRun      {origin.run_id}{label}, as of {summary['as_of']}"


def _write_workbook(path: Path, summary: Mapping[str, Any], lineage: list[dict[str, Any]]) -> None:
    try:
        write_workbook(path, summary, lineage)
    except KeyError as error:
        raise version_error(summary["run_id"], f"it has no {error}") from None
