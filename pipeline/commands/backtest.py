"""`kindred backtest`: measures how well interests predict purchases, and logs the result as a run."""

from __future__ import annotations

from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.config.run_settings import given_settings
from pipeline.ingest.source import log, read_source
from pipeline.profiles.interest_fit import log_backtest, run_backtest
from pipeline.profiles.unusual import set_apart
from pipeline.report.next_steps import command
from pipeline.stores import mlflow_runs
from pipeline.stores.run_log import close_stale_runs, run_tags, start_run
from pipeline.stores.workspace import workspace


def backtest(params: Params, *, progress: Progress) -> str:
    """Read the log, run the backtest as `kindred train` does and log it; returns the table as text."""
    with workspace(params) as session:
        progress("reading and checking")
        source = read_source(session.con, params, rejected_path=session.folder / "rejected.parquet")
        source, fit_params, warnings = set_apart(session.engine, source, params, session.folder)
        for warning in warnings:
            log.warning("%s", warning)
        result = run_backtest(session.engine, source, fit_params, progress=progress)
    store = mlflow_runs.open_store(params, create=True)
    close_stale_runs(store)
    with start_run(store, name=f"Backtest of {params.as_of:%Y-%m-%d}", tags=run_tags(params)) as run:
        run.describe("How well interests from before a cutoff predict the purchases after it; see backtest.json.")
        run.log_params(given_settings(params.redacted()))
        run.log_json(params.redacted().model_dump(mode="json"), "params.json")
        log_backtest(run, result)
    next_line = f"Next     {command(params, 'train')}    # runs the same fit if interests.fit is auto"
    return f"{result.as_text()}\n\nRun      {run.run_id}\n{next_line}"
