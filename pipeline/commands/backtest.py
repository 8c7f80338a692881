"""`kindred backtest`: measures how well interests predict purchases, and logs the result as a run."""

from __future__ import annotations

from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.ingest.source import read_source
from pipeline.profiles.interest_fit import log_backtest, run_backtest
from pipeline.report.next_steps import command
from pipeline.stores import files, mlflow_runs
from pipeline.stores.database import connect


def backtest(params: Params, *, progress: Progress) -> str:
    """Read the log, run the backtest and log it; returns the table as text."""
    folder = params.path(params.outputs.folder)
    with files.lock(folder), connect(params.engine, folder=folder) as con:
        progress("reading and checking")
        source = read_source(con, params, rejected_path=folder / "rejected.parquet")
        result = run_backtest(con, source, params, progress=progress)
    mlflow = mlflow_runs.open_store(params)
    mlflow_runs.close_stale_runs(mlflow, params)
    name = f"backtest {params.as_of:%Y-%m-%d}"
    with mlflow_runs.run(mlflow, name=name, tags=mlflow_runs.run_tags(params)) as run_id:
        mlflow_runs.log_parameters(mlflow, params.redacted().flat())
        log_backtest(mlflow, result)
    next_line = f"Next     {command(params, 'train')}    # runs the same fit if interests.fit is auto"
    return f"{result.as_text()}\n\nRun      {run_id}\n{next_line}"
