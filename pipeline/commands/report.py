"""`kindred report`: rebuilds the report of a run, or writes its tables to a workbook."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.report.lineage import lineage_records
from pipeline.report.pages.render import render
from pipeline.report.publish import SHORT_ID, current_summary
from pipeline.report.texts.wording import wording
from pipeline.report.workbook.writer import write_workbook
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
            lineage = lineage_records(mlflow_runs.read_lineage(store, origin.run_id, LINEAGE))
            write_workbook(path, summary, lineage)
        else:
            files.write_text(path, render(summary, summary.language))
    label = " (the champion)" if origin.run_id == champion else ""
    text = f"{'Workbook' if xlsx else 'Report  '} {path}\nRun      {origin.run_id}{label}, as of {summary.as_of}"
    unfinished = wording("en")("compare.unfinished", run=origin.run_id[:SHORT_ID])
    return text if origin.is_finished else f"{text}\nWarning  {unfinished}"
