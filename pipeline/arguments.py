"""The arguments of each command, with the function that runs it.

The code of a command is imported only when it runs, so ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config.params import Params
    from pipeline.config.progress import Progress

Run = Callable[[argparse.Namespace, "Progress"], str]
LANGUAGES = ("en", "uk", "ru", "sq")
"""Those of `models.naming`, which imports pandas and would make ``--help`` slow."""
RUN_HELP = "run id, or its first characters"
START = (
    "Where to start: `kindred simulate --out demo/shop`, then `kindred train`; or describe your own log in a params "
    "file, as in README.md, and run `kindred check --params FILE`."
)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line; each command sets ``run`` to the function that runs it."""
    kindred = argparse.ArgumentParser(
        prog="kindred",
        description="Group a shop's customers into named segments, based on what they do.",
        epilog=START,
    )
    kindred.add_argument("--debug", action="store_true", help="show tracebacks and library warnings")
    commands = kindred.add_subparsers(required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return kindred


def _command(commands: Any, name: str, run: Run, *, summary: str, needs_params: bool = True) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    command.set_defaults(run=run)
    if needs_params:
        command.add_argument(
            "--params",
            type=Path,
            default=Path("params.yaml"),
            metavar="FILE",
            help="settings file (default: params.yaml)",
        )
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override one setting for this run; can be repeated",
        )
    return command


def _params(options: argparse.Namespace, *more: str) -> Params:
    """The parameters of a command; ``more`` settings win over those of ``--set``."""
    from pipeline.config.load import load_params

    return load_params(options.params, [*options.set, *more])


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model", metavar="URI", help="model to use (default: models:/<model_name>@champion, see tracking.model_name)"
    )


def _add_out(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--out", type=Path, metavar="FILE", help=text)


def _add_language(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--language", choices=LANGUAGES, help=text)


def _train(commands: Any) -> None:
    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.train import train

        language = [f"language={options.language}"] if options.language else []
        return train(_params(options, *language), sweep=options.sweep, progress=progress).as_text()

    command = _command(commands, "train", run, summary="find and name segments, and write a report")
    command.add_argument(
        "--sweep",
        action="store_true",
        help="try every candidate in the sweep settings, including HDBSCAN, and show how each did",
    )
    _add_language(command, "language of the report; same as --set language=...")


def _score(commands: Any) -> None:
    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.score import score

        params = _params(options)
        return score(
            params,
            model_uri=options.model or params.tracking.champion_uri,
            out=options.out.resolve() if options.out else params.path(params.outputs.scores),
            progress=progress,
            update=options.update,
            force=options.force,
        ).as_text()

    command = _command(commands, "score", run, summary="assign every customer to a segment")
    _add_model(command)
    _add_out(command, "score file (default: the outputs.scores setting)")
    command.add_argument(
        "--update", action="store_true", help="read only the events added since the last --update, to save time"
    )
    command.add_argument("--force", action="store_true", help="score even if the model seems to belong to another shop")


def _history(commands: Any) -> None:
    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.history import history, parse_date

        params = _params(options)
        return history(
            params,
            every=options.every,
            since=parse_date(options.since) if options.since else None,
            model_uri=options.model or params.tracking.champion_uri,
            out=(options.out or params.path(params.outputs.folder) / "history.parquet").resolve(),
            progress=progress,
        )

    summary = "score past dates in one pass and show which customers moved"
    command = _command(commands, "history", run, summary=summary)
    command.add_argument(
        "--every", choices=("week", "month", "quarter"), default="month", help="time between dates (default: month)"
    )
    command.add_argument("--from", dest="since", metavar="DATE", help="earliest date (default: a year before as_of)")
    _add_model(command)
    _add_out(command, "history file (default: history.parquet in the outputs folder)")


def _migration(commands: Any) -> None:
    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.migration import migration

        params = _params(options)
        out = (options.out or params.path(params.outputs.folder) / "migration.parquet").resolve()
        return migration(params, *options.scores, out=out)

    summary = "compare two score files and show which customers moved"
    command = _command(commands, "migration", run, summary=summary)
    command.add_argument("scores", nargs=2, type=Path, metavar="SCORES", help="score file")
    _add_out(command, "file of moves (default: migration.parquet in the outputs folder)")


def _compare(commands: Any) -> None:
    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.compare import compare

        language = [f"language={options.language}"] if options.language else []
        return compare(_params(options, *language), options.runs, flow=options.flow, progress=progress)

    command = _command(commands, "compare", run, summary="compare two or more training runs, and recommend one")
    command.add_argument("runs", nargs="+", metavar="RUN", help=RUN_HELP)
    command.add_argument(
        "--flow", action="store_true", help="score the customers with each model and show how their segments change"
    )
    _add_language(command, "language of the page (default: the language setting)")


def _promote(commands: Any) -> None:
    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.promote import promote

        return promote(_params(options), options.run_id, force=options.force)

    command = _command(commands, "promote", run, summary="make a run's model the champion")
    command.add_argument("run_id", metavar="RUN", help=RUN_HELP)
    command.add_argument(
        "--force", action="store_true", help="promote even if the run is worse; the model version records this"
    )


def _rename(commands: Any) -> None:
    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.rename import rename
        from pipeline.config.errors import UserError

        if (options.name is None) != options.reset:
            raise UserError("kindred rename: expected SEGMENT and either NAME or --reset.")
        return rename(_params(options), options.segment, options.name)

    command = _command(commands, "rename", run, summary="give a segment a name that later trainings keep")
    command.add_argument("segment", metavar="SEGMENT", help="segment_id or current name")
    command.add_argument("name", nargs="?", metavar="NAME", help="new name")
    command.add_argument("--reset", action="store_true", help="go back to the automatic name")


def _report(commands: Any) -> None:
    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.report import report

        return report(_params(options), options.run_id, language=options.language, out=options.out, xlsx=options.xlsx)

    command = _command(commands, "report", run, summary="rebuild a run's report, or export its tables")
    command.add_argument("run_id", nargs="?", metavar="RUN", help=f"{RUN_HELP} (default: the champion)")
    _add_language(command, "language of the report (default: the run's)")
    command.add_argument("--xlsx", action="store_true", help="write an Excel workbook instead, one sheet per table")
    _add_out(command, "output file (default: in the outputs folder)")


def _backtest(commands: Any) -> None:
    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.backtest import backtest

        return backtest(_params(options), progress=progress)

    summary = "measure how well interests predict purchases, compared with other scoring methods"
    _command(commands, "backtest", run, summary=summary)


def _explain(commands: Any) -> None:
    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.explain import explain

        params = _params(options)
        return explain(
            params,
            customer=options.customer,
            category=options.category,
            model_uri=options.model or params.tracking.champion_uri,
            progress=progress,
        )

    summary = "show why a customer is in a segment, and which events counted"
    command = _command(commands, "explain", run, summary=summary)
    command.add_argument("customer", metavar="CUSTOMER", help="customer id, exactly as in the log")
    command.add_argument("--category", metavar="PATH", help="list every event counted for one category")
    _add_model(command)


def _simulate(commands: Any) -> None:
    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.simulate import simulate

        return simulate(
            options.out,
            customers=options.customers,
            days=options.days,
            seed=options.seed,
            kind=options.kind,
            file_format=options.format,
            progress=progress,
        ).as_text()

    summary = "write a simulated shop with known customer types"
    command = _command(commands, "simulate", run, summary=summary, needs_params=False)
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write the shop to")
    for name, default, text in (
        ("--customers", 20_000, "number of customers"),
        ("--days", 395, "days of history"),
        ("--seed", 7, "random seed"),
    ):
        command.add_argument(name, type=int, default=default, metavar="N", help=f"{text} (default: %(default)s)")
    command.add_argument(
        "--kind",
        choices=("usual", "busy"),
        default="usual",
        help="busy: about 100 events per customer (default: %(default)s)",
    )
    command.add_argument(
        "--format", choices=("parquet", "csv"), default="parquet", help="file format (default: %(default)s)"
    )


def _check(commands: Any) -> None:
    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.check import check

        return check(_params(options), progress=progress)

    _command(commands, "check", run, summary="read and check the log without training")


COMMANDS = (
    _simulate,
    _check,
    _train,
    _score,
    _report,
    _explain,
    _rename,
    _compare,
    _promote,
    _history,
    _migration,
    _backtest,
)
"""In the order of ``--help``: that in which a newcomer needs them."""
