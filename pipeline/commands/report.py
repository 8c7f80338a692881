"""`kindred report`: the report of a run made again, or a workbook of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.report.publish import SHORT_ID, of_another_version, remade, rendered
from pipeline.report.workbook import write_workbook
from pipeline.stores import files, mlflow_runs, model_registry
from pipeline.stores.mlflow_runs import LINEAGE


def report(params: Params, run: str | None, *, language: str | None, out: Path | None, xlsx: bool) -> str:
    """Make the report of a run again, or a workbook of its tables; gives in words what lies where.

    Parameters
    ----------
    run : str or None
        Id of a run or its beginning; None: the champion's.
    language : str or None
        en, uk, ru or sq; None: the one it was trained with.
    out : Path or None
        None: report-RUN.html or segments-RUN.xlsx in the outputs folder.

    Raises
    ------
    UserError
        There is no such run, it holds no summary, or one of another version; or ``out`` is named for another format.
    """
    if out is not None and out.suffix.lower() not in ((".xlsx",) if xlsx else (".html", ".htm")):
        raise UserError(f"--out {out}: expected a name ending in .xlsx with --xlsx, and in .html without it.")
    mlflow = mlflow_runs.open_store(params)
    champion = model_registry.champion_run(mlflow, params)
    if run is None and champion is None:
        raise UserError("kindred report: expected a RUN, or a champion; there is none yet. Run `kindred train` first.")
    origin = mlflow_runs.origin(mlflow, run or str(champion))
    told = remade(mlflow, params, origin.run_id, language)
    folder = params.path(params.outputs.folder)
    tail = f"{origin.run_id[:SHORT_ID]}{f'-{language}' if language else ''}.{'xlsx' if xlsx else 'html'}"
    path = out or folder / f"{'segments' if xlsx else 'report'}-{tail}"
    with files.lock(folder):
        if xlsx:
            _write_workbook(path, told, mlflow_runs.read_lineage(mlflow, origin.run_id, LINEAGE))
        else:
            files.write_text(path, rendered(told))
    whose = " (the champion)" if origin.run_id == champion else ""
    return f"{'Workbook' if xlsx else 'Report  '} {path}\nof run   {origin.run_id}{whose}, as of {told['as_of']}"


def _write_workbook(path: Path, summary: Mapping[str, Any], lineage: list[dict[str, Any]]) -> None:
    try:
        write_workbook(path, summary, lineage)
    except KeyError as error:
        raise of_another_version(summary["run_id"], f"it has no {error}") from None
