"""`kindred`: the command line. Each command imports its code only when it runs, so --help answers at once."""

from __future__ import annotations

import argparse
import atexit
import gc
import logging
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

EXIT_USER_ERROR = 2
EXIT_FAILURE = 1
EXIT_TRAIN_AGAIN = 3
OBJECTS_BEFORE_COLLECTION = 200_000
MODEL_HELP = "model to use (default: models:/<model_name>@champion)"
RUN_HELP = "run id, or its first characters"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0 on success, 2 for a user error and 1 for any other failure.

    `kindred drift` returns 3 if the model is to be trained again.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    for library in ("mlflow", "alembic", "numba", "matplotlib"):
        logging.getLogger(library).setLevel(logging.ERROR)
    if not options.debug:
        warnings.filterwarnings("ignore")
    from pipeline.config.errors import UserError

    try:
        with rare_garbage_collection():
            return int(options.run(options) or 0)
    except UserError as error:
        print(f"kindred: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("kindred: stopped. No partial files were left behind.", file=sys.stderr)
        return EXIT_FAILURE
    except Exception as error:
        if options.debug:
            raise
        # The text of an unexpected error may contain customer data, so only its type and location are printed.
        print(
            f"kindred: unexpected error: {type(error).__name__} at {_error_location(error)}. "
            "Run the command again with --debug to see the full traceback.",
            file=sys.stderr,
        )
        return EXIT_FAILURE


@contextmanager
def rare_garbage_collection() -> Iterator[None]:
    """Run the garbage collector rarely, and skip its final pass at exit.

    Imports and query plans create about a million long-lived objects, and each full pass over them takes seconds.
    """
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS_BEFORE_COLLECTION, *before[1:])
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _error_location(error: BaseException) -> str:
    frame = error.__traceback__
    location = "an unknown location"
    while frame is not None:
        location = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"
        frame = frame.tb_next
    return location


class Progress:
    """Prints the steps of a long command to standard error, with the seconds since it started."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def __call__(self, step: str) -> None:
        """Print that ``step`` begins."""
        print(f"[{time.monotonic() - self.started:6.1f} s] {step}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kindred", description="Group a shop's customers into named segments, based on what they do."
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks and library warnings")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    with_params = argparse.ArgumentParser(add_help=False)
    with_params.add_argument(
        "--params", type=Path, default=Path("params.yaml"), metavar="FILE", help="settings file (default: params.yaml)"
    )
    with_params.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one setting for this run; can be repeated",
    )

    train = commands.add_parser("train", parents=[with_params], help="find and name segments, and write a report")
    train.add_argument(
        "--sweep",
        action="store_true",
        help="try every candidate in the sweep settings, including HDBSCAN, and show how each did",
    )
    train.add_argument(
        "--language",
        default=None,
        choices=("en", "uk", "ru", "sq"),
        help="language of the report; same as --set language=...",
    )
    train.set_defaults(run=_train)

    score = commands.add_parser("score", parents=[with_params], help="assign every customer to a segment")
    score.add_argument("--model", default=None, metavar="URI", help=MODEL_HELP)
    score.add_argument("--out", default=None, metavar="FILE", help="score file (default: the outputs.scores setting)")
    score.add_argument(
        "--update", action="store_true", help="read only the events added since the last --update, to save time"
    )
    score.add_argument("--force", action="store_true", help="score even if the model seems to belong to another shop")
    score.set_defaults(run=_score)

    _add_history(commands, with_params)

    compare = commands.add_parser("compare", parents=[with_params], help="compare two or more training runs")
    compare.add_argument("runs", nargs="+", metavar="RUN", help=RUN_HELP)
    compare.add_argument(
        "--flow", action="store_true", help="score the customers with each model and show how their segments change"
    )
    compare.add_argument(
        "--language", choices=("en", "uk", "ru", "sq"), help="language of the page (default: the language setting)"
    )
    compare.set_defaults(run=_compare)

    promote = commands.add_parser("promote", parents=[with_params], help="make a run's model the champion")
    promote.add_argument("run_id", metavar="RUN", help=RUN_HELP)
    promote.add_argument(
        "--force", action="store_true", help="promote even if the run is worse; the model version records this"
    )
    promote.set_defaults(run=_promote)

    rename = commands.add_parser(
        "rename", parents=[with_params], help="give a segment a name that later trainings keep"
    )
    rename.add_argument("segment", metavar="SEGMENT", help="segment_id or current name")
    rename.add_argument("name", nargs="?", metavar="NAME", help="new name")
    rename.add_argument("--reset", action="store_true", help="go back to the automatic name")
    rename.set_defaults(run=_rename)

    _add_report(commands, with_params)

    backtest = commands.add_parser(
        "backtest",
        parents=[with_params],
        help="measure how well interests predict purchases, compared with other scoring methods",
    )
    backtest.set_defaults(run=_backtest)

    explain = commands.add_parser(
        "explain", parents=[with_params], help="show why a customer is in a segment, and which events counted"
    )
    explain.add_argument("customer", metavar="CUSTOMER", help="customer id, exactly as in the log")
    explain.add_argument("--category", default=None, metavar="PATH", help="list every event counted for one category")
    explain.add_argument("--model", default=None, metavar="URI", help=MODEL_HELP)
    explain.set_defaults(run=_explain)

    simulate = commands.add_parser("simulate", help="write a simulated shop with known customer types")
    simulate.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write the shop to")
    simulate.add_argument(
        "--customers", type=int, default=20_000, metavar="N", help="number of customers (default: %(default)s)"
    )
    simulate.add_argument("--days", type=int, default=395, metavar="N", help="days of history (default: %(default)s)")
    simulate.add_argument("--seed", type=int, default=7, metavar="N", help="random seed (default: %(default)s)")
    simulate.add_argument(
        "--kind",
        choices=("usual", "busy"),
        default="usual",
        help="busy: about 100 events per customer (default: %(default)s)",
    )
    simulate.add_argument(
        "--format", choices=("parquet", "csv"), default="parquet", help="file format (default: %(default)s)"
    )
    simulate.set_defaults(run=_simulate)

    check = commands.add_parser("check", parents=[with_params], help="read and check the log without training")
    check.set_defaults(run=_check)

    _add_upkeep(commands, with_params)
    return parser


def _add_upkeep(commands: Any, with_params: argparse.ArgumentParser) -> None:
    forget = commands.add_parser(
        "forget", parents=[with_params], help="remove customers from all files and keep them out of later readings"
    )
    forget.add_argument("customers", nargs="*", metavar="CUSTOMER", help="customer id, exactly as in the log")
    forget.add_argument(
        "--file", type=Path, default=None, metavar="FILE", help="text file with one customer id per line"
    )
    forget.add_argument(
        "--add-unknown",
        action="store_true",
        help="also keep ids out of later readings that no file holds (default: they are refused)",
    )
    forget.set_defaults(run=_forget)

    drift = commands.add_parser(
        "drift",
        parents=[with_params],
        help="compare today's customers with the training, and say whether to train again",
        epilog="Exit codes: 0 keep or watch the model, 3 train again, 2 user error, 1 any other failure.",
    )
    drift.add_argument("--model", default=None, metavar="URI", help=MODEL_HELP)
    drift.set_defaults(run=_drift)


def _add_history(commands: Any, with_params: argparse.ArgumentParser) -> None:
    history = commands.add_parser(
        "history", parents=[with_params], help="score past dates in one pass and show who moved"
    )
    history.add_argument(
        "--every", choices=("week", "month", "quarter"), default="month", help="time between dates (default: month)"
    )
    history.add_argument(
        "--from", dest="since", default=None, metavar="DATE", help="earliest date (default: a year before as_of)"
    )
    history.add_argument("--model", default=None, metavar="URI", help=MODEL_HELP)
    history.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="FILE",
        help="history file (default: history.parquet in the outputs folder)",
    )
    history.set_defaults(run=_history)

    migration = commands.add_parser(
        "migration", parents=[with_params], help="compare two score files and show who moved"
    )
    migration.add_argument("scores", nargs=2, type=Path, metavar="SCORES", help="score file")
    migration.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="FILE",
        help="file of moves (default: migration.parquet in the outputs folder)",
    )
    migration.set_defaults(run=_migration)


def _add_report(commands: Any, with_params: argparse.ArgumentParser) -> None:
    report = commands.add_parser("report", parents=[with_params], help="rebuild a run's report, or export its tables")
    report.add_argument("run_id", nargs="?", metavar="RUN", help=f"{RUN_HELP} (default: the champion)")
    report.add_argument(
        "--language", choices=("en", "uk", "ru", "sq"), help="language of the report (default: the run's)"
    )
    report.add_argument("--xlsx", action="store_true", help="write an Excel workbook instead, one sheet per table")
    report.add_argument(
        "--out", type=Path, default=None, metavar="FILE", help="output file (default: in the outputs folder)"
    )
    report.set_defaults(run=_report)


def _train(options: argparse.Namespace) -> None:
    from pipeline.commands.train import train
    from pipeline.config.load import load_params

    language = [f"language={options.language}"] if options.language else []
    params = load_params(options.params, [*options.set, *language])
    print(train(params, sweep=options.sweep, progress=Progress()).as_text())


def _score(options: argparse.Namespace) -> None:
    from pipeline.commands.score import score
    from pipeline.config.load import load_params

    params = load_params(options.params, options.set)
    model = options.model or params.tracking.champion_uri
    out = Path(options.out).resolve() if options.out else params.path(params.outputs.scores)
    result = score(params, model_uri=model, out=out, progress=Progress(), update=options.update, force=options.force)
    print(result.as_text())


def _history(options: argparse.Namespace) -> None:
    from pipeline.commands.history import history, parse_date
    from pipeline.config.load import load_params

    params = load_params(options.params, options.set)
    text = history(
        params,
        every=options.every,
        since=parse_date(options.since) if options.since else None,
        model_uri=options.model or params.tracking.champion_uri,
        out=(options.out or params.path(params.outputs.folder) / "history.parquet").resolve(),
        progress=Progress(),
    )
    print(text)


def _migration(options: argparse.Namespace) -> None:
    from pipeline.commands.migration import migration
    from pipeline.config.load import load_params

    params = load_params(options.params, options.set)
    out = (options.out or params.path(params.outputs.folder) / "migration.parquet").resolve()
    print(migration(params, *options.scores, out=out))


def _compare(options: argparse.Namespace) -> None:
    from pipeline.commands.compare import compare
    from pipeline.config.load import load_params

    language = [f"language={options.language}"] if options.language else []
    params = load_params(options.params, [*options.set, *language])
    print(compare(params, options.runs, flow=options.flow, progress=Progress()))


def _promote(options: argparse.Namespace) -> None:
    from pipeline.commands.promote import promote
    from pipeline.config.load import load_params

    print(promote(load_params(options.params, options.set), options.run_id, force=options.force))


def _rename(options: argparse.Namespace) -> None:
    from pipeline.commands.rename import rename
    from pipeline.config.errors import UserError
    from pipeline.config.load import load_params

    if (options.name is None) != options.reset:
        raise UserError("kindred rename: expected SEGMENT and either NAME or --reset.")
    print(rename(load_params(options.params, options.set), options.segment, options.name))


def _report(options: argparse.Namespace) -> None:
    from pipeline.commands.report import report
    from pipeline.config.load import load_params

    params = load_params(options.params, options.set)
    print(report(params, options.run_id, language=options.language, out=options.out, xlsx=options.xlsx))


def _backtest(options: argparse.Namespace) -> None:
    from pipeline.commands.backtest import backtest
    from pipeline.config.load import load_params

    print(backtest(load_params(options.params, options.set), progress=Progress()))


def _explain(options: argparse.Namespace) -> None:
    from pipeline.commands.explain import explain
    from pipeline.config.load import load_params

    params = load_params(options.params, options.set)
    model = options.model or params.tracking.champion_uri
    text = explain(params, customer=options.customer, category=options.category, model_uri=model, progress=Progress())
    print(text)


def _simulate(options: argparse.Namespace) -> None:
    from pipeline.simulate import simulate

    shop = simulate(
        options.out,
        customers=options.customers,
        days=options.days,
        seed=options.seed,
        kind=options.kind,
        file_format=options.format,
        progress=Progress(),
    )
    print(shop.as_text())


def _check(options: argparse.Namespace) -> None:
    from pipeline.commands.check import check
    from pipeline.config.load import load_params

    print(check(load_params(options.params, options.set), progress=Progress()))


def _forget(options: argparse.Namespace) -> None:
    from pipeline.config.load import load_params
    from pipeline.forgetting.forget import forget, read_ids

    ids = [*options.customers, *(read_ids(options.file) if options.file else [])]
    params = load_params(options.params, options.set)
    print(forget(params, ids, add_unknown=options.add_unknown, progress=Progress()))


def _drift(options: argparse.Namespace) -> int:
    from pipeline.config.load import load_params
    from pipeline.drift.command import drift

    params = load_params(options.params, options.set)
    result = drift(params, model_uri=options.model or params.tracking.champion_uri, progress=Progress())
    print(result.as_text())
    return EXIT_TRAIN_AGAIN if result.verdict == "train_again" else 0


if __name__ == "__main__":
    sys.exit(main())
