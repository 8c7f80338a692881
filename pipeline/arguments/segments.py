"""Arguments of the commands that read logs, train models, and score and explain customers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.arguments.common import RUN_HELP, add_command, add_language, add_model, add_out, read_params

if TYPE_CHECKING:
    from pipeline.config.progress import Progress

PRESETS = ("shopify", "woocommerce", "ga4", "magento", "matomo", "rees46", "orders")
"""Those of `pipeline.presets`, which imports pydantic and would make ``--help`` slow."""


def add_train(commands: Any) -> None:
    """`kindred train`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.train import train

        language = [f"language={options.language}"] if options.language else []
        return train(read_params(options, *language), sweep=options.sweep, progress=progress).as_text()

    command = add_command(commands, "train", run, summary="find and name segments, and write a report")
    command.add_argument(
        "--sweep",
        action="store_true",
        help="try every candidate in the sweep settings, including HDBSCAN, and show how each did",
    )
    add_language(command, "language of the report; same as --set language=...")


def add_score(commands: Any) -> None:
    """`kindred score`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.score import score
        from pipeline.config.types import output_path

        params = read_params(options)
        return score(
            params,
            model_uri=options.model or params.tracking.champion_uri,
            out=output_path(options.out) if options.out else params.scores_path,
            progress=progress,
            update=options.update,
            force=options.force,
        ).as_text()

    command = add_command(commands, "score", run, summary="assign every customer to a segment")
    add_model(command)
    add_out(
        command, "score file, or a folder of Parquet files if it has no suffix (default: the outputs.scores setting)"
    )
    command.add_argument(
        "--update", action="store_true", help="read only the events added since the last --update, to save time"
    )
    command.add_argument("--force", action="store_true", help="score even if the model seems to belong to another shop")


def add_history(commands: Any) -> None:
    """`kindred history`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.history import history, parse_date

        params = read_params(options)
        return history(
            params,
            every=options.every,
            since=parse_date(options.since) if options.since else None,
            model_uri=options.model or params.tracking.champion_uri,
            out=(options.out or params.path(params.outputs.folder) / "history.parquet").resolve(),
            progress=progress,
        )

    summary = "score past dates in one pass and show which customers moved"
    command = add_command(commands, "history", run, summary=summary)
    command.add_argument(
        "--every", choices=("week", "month", "quarter"), default="month", help="time between dates (default: month)"
    )
    command.add_argument("--from", dest="since", metavar="DATE", help="earliest date (default: a year before as_of)")
    add_model(command)
    add_out(command, "history file (default: history.parquet in the outputs folder)")


def add_migration(commands: Any) -> None:
    """`kindred migration`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.migration import migration

        params = read_params(options)
        out = (options.out or params.path(params.outputs.folder) / "migration.parquet").resolve()
        return migration(params, *options.scores, out=out)

    summary = "compare two score files and show which customers moved"
    command = add_command(commands, "migration", run, summary=summary)
    command.add_argument("scores", nargs=2, type=Path, metavar="SCORES", help="score file")
    add_out(command, "file of moves (default: migration.parquet in the outputs folder)")


def add_compare(commands: Any) -> None:
    """`kindred compare`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.compare import compare

        language = [f"language={options.language}"] if options.language else []
        return compare(read_params(options, *language), options.runs, flow=options.flow, progress=progress)

    command = add_command(commands, "compare", run, summary="compare two or more training runs, and recommend one")
    command.add_argument("runs", nargs="+", metavar="RUN", help=RUN_HELP)
    command.add_argument(
        "--flow", action="store_true", help="score the customers with each model and show how their segments change"
    )
    add_language(command, "language of the page (default: the language setting)")


def add_promote(commands: Any) -> None:
    """`kindred promote`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.promote import promote

        return promote(read_params(options), options.run_id, force=options.force)

    command = add_command(commands, "promote", run, summary="make a run's model the champion")
    command.add_argument("run_id", metavar="RUN", help=RUN_HELP)
    command.add_argument(
        "--force", action="store_true", help="promote even if the run is worse; the model version records this"
    )


def add_rename(commands: Any) -> None:
    """`kindred rename`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.rename import rename
        from pipeline.config.errors import UserError

        if (options.name is None) != options.reset:
            raise UserError("kindred rename: expected SEGMENT and either NAME or --reset.")
        return rename(read_params(options), options.segment, options.name)

    command = add_command(commands, "rename", run, summary="give a segment a name that later trainings keep")
    command.add_argument("segment", metavar="SEGMENT", help="segment_id or current name")
    command.add_argument("name", nargs="?", metavar="NAME", help="new name")
    command.add_argument("--reset", action="store_true", help="go back to the automatic name")


def add_report(commands: Any) -> None:
    """`kindred report`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.report import report

        return report(
            read_params(options), options.run_id, language=options.language, out=options.out, xlsx=options.xlsx
        )

    command = add_command(commands, "report", run, summary="rebuild a run's report, or export its tables")
    command.add_argument("run_id", nargs="?", metavar="RUN", help=f"{RUN_HELP} (default: the champion)")
    add_language(command, "language of the report (default: the run's)")
    command.add_argument("--xlsx", action="store_true", help="write an Excel workbook instead, one sheet per table")
    add_out(command, "output file (default: in the outputs folder)")


def add_backtest(commands: Any) -> None:
    """`kindred backtest`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.backtest import backtest

        return backtest(read_params(options), progress=progress)

    summary = "measure how well interests predict purchases, compared with other scoring methods"
    add_command(commands, "backtest", run, summary=summary)


def add_explain(commands: Any) -> None:
    """`kindred explain`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.explain import explain

        params = read_params(options)
        return explain(
            params,
            customer=options.customer,
            category=options.category,
            model_uri=options.model or params.tracking.champion_uri,
            progress=progress,
        )

    summary = "show why a customer is in a segment, and which events counted"
    command = add_command(commands, "explain", run, summary=summary)
    command.add_argument("customer", metavar="CUSTOMER", help="customer id, exactly as in the log")
    command.add_argument("--category", metavar="PATH", help="list every event counted for one category")
    add_model(command)


def add_simulate(commands: Any) -> None:
    """`kindred simulate`."""

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
    command = add_command(commands, "simulate", run, summary=summary, needs_params=False)
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


def add_init(commands: Any) -> None:
    """`kindred init`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.init import init

        return init(
            options.files,
            preset=options.preset,
            out=options.out.resolve(),
            overwrite=options.overwrite,
            progress=progress,
        )

    summary = "look at an export of your shop and write a params file for it"
    command = add_command(commands, "init", run, summary=summary, needs_params=False)
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files of the export, or folders of them")
    command.add_argument(
        "--from", dest="preset", choices=PRESETS, help="where the export comes from (default: recognised, or guessed)"
    )
    command.add_argument(
        "--out",
        "--output",
        type=Path,
        default=Path("shop.yaml"),
        metavar="FILE",
        help="params file to write (default: %(default)s)",
    )
    command.add_argument("--overwrite", action="store_true", help="replace the params file if it exists")


def add_check(commands: Any) -> None:
    """`kindred check`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.check import check

        return check(read_params(options), progress=progress)

    add_command(commands, "check", run, summary="read and check the log without training")
