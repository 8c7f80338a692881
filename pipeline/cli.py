"""`kindred`: the command line. Imports late, so that --help answers at once."""

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

EXIT_USER_MISTAKE = 2
EXIT_FAILURE = 1
OBJECTS_BEFORE_COLLECTION = 200_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 2 for a user's mistake, 1 for anything else."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    for chatty in ("mlflow", "alembic", "numba", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    if not options.debug:
        warnings.filterwarnings("ignore")
    from pipeline.config.errors import UserError

    try:
        with few_collections():
            return int(options.run(options) or 0)
    except UserError as error:
        print(f"kindred: {error}", file=sys.stderr)
        return EXIT_USER_MISTAKE
    except KeyboardInterrupt:
        print("kindred: stopped; nothing half written.", file=sys.stderr)
        return EXIT_FAILURE
    except Exception as error:
        if options.debug:
            raise
        # The text of an unforeseen error may hold rows of data: its kind and place are told, its text only on demand.
        place = _innermost(error)
        print(
            f"kindred: an error that Kindred did not foresee: {type(error).__name__} at {place}. "
            "Run the command again with --debug for the whole of it.",
            file=sys.stderr,
        )
        return EXIT_FAILURE


@contextmanager
def few_collections() -> Iterator[None]:
    """Python looks for cycles of garbage rarely, and not at its end.

    Imports and plans of queries make a million objects that stay: looking through them takes seconds.
    """
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS_BEFORE_COLLECTION, *before[1:])
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _innermost(error: BaseException) -> str:
    frame = error.__traceback__
    place = "an unknown place"
    while frame is not None:
        place = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"
        frame = frame.tb_next
    return place


class Progress:
    """Steps of a long command on standard error, with the seconds since its start."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def __call__(self, step: str) -> None:
        """Tell that ``step`` begins."""
        print(f"[{time.monotonic() - self.started:6.1f} s] {step}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kindred", description="Finds the kinds of customers a shop has, from what they do."
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks and warnings of libraries")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    with_params = argparse.ArgumentParser(add_help=False)
    with_params.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    with_params.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="set a key of params.yaml for this run"
    )

    train = commands.add_parser("train", parents=[with_params], help="find and name segments, track the run")
    train.add_argument(
        "--sweep", action="store_true", help="choose among all of `sweep`, HDBSCAN too, and tell of each"
    )
    train.add_argument("--language", default=None, choices=("en", "uk", "ru", "sq"), help="same as --set language=...")
    train.set_defaults(run=_train)

    score = commands.add_parser("score", parents=[with_params], help="give every customer a segment")
    score.add_argument("--model", default=None, metavar="URI", help="default: models:/<model_name>@champion")
    score.add_argument("--out", default=None, metavar="FILE", help="default: outputs.scores of params.yaml")
    score.add_argument("--update", action="store_true", help="from the state of the last --update and the events since")
    score.add_argument("--force", action="store_true", help="though the model looks like another shop's")
    score.set_defaults(run=_score)

    _add_history(commands, with_params)

    compare = commands.add_parser("compare", parents=[with_params], help="two or more runs side by side")
    compare.add_argument("runs", nargs="+", metavar="RUN")
    compare.add_argument("--flow", action="store_true", help="score the source with each model: who goes where")
    compare.add_argument(
        "--language", choices=("en", "uk", "ru", "sq"), help="of the page; default: language in params"
    )
    compare.set_defaults(run=_compare)

    promote = commands.add_parser("promote", parents=[with_params], help="make the model of a run the champion")
    promote.add_argument("run_id", metavar="RUN")
    promote.add_argument("--force", action="store_true", help="though it is worse; recorded with the version")
    promote.set_defaults(run=_promote)

    rename = commands.add_parser("rename", parents=[with_params], help="give a segment a name that lasts")
    rename.add_argument("segment", metavar="SEGMENT", help="its segment_id, or what it is called now")
    rename.add_argument("name", nargs="?", metavar="NAME")
    rename.add_argument("--reset", action="store_true", help="take the given name back")
    rename.set_defaults(run=_rename)

    _add_report(commands, with_params)

    backtest = commands.add_parser(
        "backtest", parents=[with_params], help="how well interests foretell purchases, beside other ways to score them"
    )
    backtest.set_defaults(run=_backtest)

    explain = commands.add_parser(
        "explain", parents=[with_params], help="what one customer did, what it counted for, and the segment it led to"
    )
    explain.add_argument("customer", metavar="CUSTOMER", help="an id as it stands in the log")
    explain.add_argument("--category", default=None, metavar="PATH", help="every event that counted for one category")
    explain.add_argument("--model", default=None, metavar="URI", help="default: models:/<model_name>@champion")
    explain.set_defaults(run=_explain)

    simulate = commands.add_parser("simulate", help="write a made-up shop with planted segments")
    simulate.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    simulate.add_argument("--customers", type=int, default=20_000, metavar="N")
    simulate.add_argument("--days", type=int, default=395, metavar="N")
    simulate.add_argument("--seed", type=int, default=7, metavar="N")
    simulate.add_argument(
        "--kind", choices=("usual", "busy"), default="usual", help="busy: about 100 events a customer"
    )
    simulate.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    simulate.set_defaults(run=_simulate)

    check = commands.add_parser("check", parents=[with_params], help="read and check the source, train nothing")
    check.set_defaults(run=_check)
    return parser


def _add_history(commands: Any, with_params: argparse.ArgumentParser) -> None:
    history = commands.add_parser("history", parents=[with_params], help="score several moments in one pass: who moved")
    history.add_argument("--every", choices=("week", "month", "quarter"), default="month", help="default: month")
    history.add_argument("--from", dest="since", default=None, metavar="DATE", help="default: a year before as_of")
    history.add_argument("--model", default=None, metavar="URI", help="default: models:/<model_name>@champion")
    history.add_argument("--out", type=Path, default=None, metavar="FILE", help="default: history.parquet in outputs")
    history.set_defaults(run=_history)

    migration = commands.add_parser("migration", parents=[with_params], help="two files of scores: who moved where")
    migration.add_argument("scores", nargs=2, type=Path, metavar="SCORES")
    migration.add_argument("--out", type=Path, default=None, metavar="FILE", help="default: in outputs")
    migration.set_defaults(run=_migration)


def _add_report(commands: Any, with_params: argparse.ArgumentParser) -> None:
    report = commands.add_parser("report", parents=[with_params], help="the report of a run again, or its tables")
    report.add_argument("run_id", nargs="?", metavar="RUN", help="its id or the beginning; default: the champion's")
    report.add_argument("--language", choices=("en", "uk", "ru", "sq"), help="default: the run's")
    report.add_argument("--xlsx", action="store_true", help="a workbook instead, one sheet per table")
    report.add_argument("--out", type=Path, default=None, metavar="FILE", help="default: in the outputs folder")
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
    done = score(params, model_uri=model, out=out, progress=Progress(), update=options.update, force=options.force)
    print(done.as_text())


def _history(options: argparse.Namespace) -> None:
    from pipeline.commands.history import a_date, history
    from pipeline.config.load import load_params

    params = load_params(options.params, options.set)
    told = history(
        params,
        every=options.every,
        since=a_date(options.since) if options.since else None,
        model_uri=options.model or params.tracking.champion_uri,
        out=(options.out or params.path(params.outputs.folder) / "history.parquet").resolve(),
        progress=Progress(),
    )
    print(told)


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
        raise UserError("kindred rename: expected SEGMENT and NAME, or SEGMENT and --reset.")
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
    told = explain(params, customer=options.customer, category=options.category, model_uri=model, progress=Progress())
    print(told)


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


if __name__ == "__main__":
    sys.exit(main())
