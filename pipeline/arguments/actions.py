"""Arguments of the commands that act on scores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.arguments.common import Outcome, add_command, add_model, add_out, read_params

if TYPE_CHECKING:
    from pipeline.config.progress import Progress


EXIT_TRAIN_AGAIN = 3
"""Exit code of `kindred drift` that tells a scheduler to train again."""


def add_audience(commands: Any) -> None:
    """`kindred audience`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.actions.audience import AudienceOptions, audience
        from pipeline.config.errors import UserError
        from pipeline.report import terminal

        result = audience(
            read_params(options),
            AudienceOptions(
                name=options.name,
                segments=options.segment,
                interests=options.interest,
                categories=options.category,
                tool=options.tool,
                out=options.out.resolve() if options.out else None,
                holdout=options.holdout,
                limit=options.limit,
            ),
        )
        if result.failures:
            terminal.show(result.as_text())
            raise UserError("\n".join(result.failures))
        return result.as_text()

    summary = "write the customers of a segment, or of an audience, as a list"
    command = add_command(commands, "audience", run, summary=summary)
    command.add_argument(
        "name", nargs="?", metavar="NAME", help="audience of the params file (default: all), or action of the report"
    )
    for option, text in {
        "segment": "segment, by name or id",
        "interest": "interest segment: customers whose main interest it is; if none has this name, as --category",
        "category": "category, by name or path: customers with it, or one below it, among their top categories",
    }.items():
        command.add_argument(
            f"--{option}", action="append", default=[], metavar="NAME", help=f"{text}; can be repeated"
        )
    command.add_argument("--for", dest="tool", metavar="TOOL", help="tool that imports the list, such as klaviyo")
    command.add_argument("--holdout", type=float, metavar="SHARE", help="share to hold out, such as 0.1")
    command.add_argument("--limit", type=int, metavar="N", help="number of customers, at most")
    add_out(
        command,
        ".csv, .xlsx or .parquet file, or table of a .duckdb or .sqlite database (default: in outputs/audiences)",
    )


def add_changes(commands: Any) -> None:
    """`kindred changes`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.actions.changes import changes
        from pipeline.commands.history import parse_date

        params = read_params(options)
        name = "tags" if options.tags else "changes"
        out = (options.out or params.path(params.outputs.folder) / f"{name}.csv").resolve()
        since = parse_date(options.since, option="--since") if options.since else None
        return changes(params, since=since, out=out, tags=options.tags)

    summary = "list who entered and left which segment, tier and audience"
    command = add_command(commands, "changes", run, summary=summary)
    command.add_argument(
        "--since", metavar="DATE", help="all changes after this date (default: those of the last scores)"
    )
    command.add_argument(
        "--tags", action="store_true", help="one row per customer, with the tags to add and to remove, for a sync"
    )
    add_out(command, "file, or table of a database (default: changes.csv or tags.csv in the outputs folder)")


def add_effect(commands: Any) -> None:
    """`kindred effect`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.actions.effect import effect
        from pipeline.commands.history import parse_date

        as_of = parse_date(options.as_of, option="--as-of") if options.as_of else None
        until = parse_date(options.until, option="--until")
        return effect(read_params(options), options.audience, until=until, as_of=as_of, decide_by=options.by)

    summary = "show what an audience's campaign brought, compared with its control group"
    command = add_command(commands, "effect", run, summary=summary)
    command.add_argument("audience", metavar="AUDIENCE", help="name of the audience, as its list was written")
    command.add_argument("--until", required=True, metavar="DATE", help="purchases before this date count")
    command.add_argument("--as-of", metavar="DATE", help="date of the audience (default: the last before --until)")
    command.add_argument(
        "--by",
        choices=("buyers", "spend"),
        default="buyers",
        help="what verdicts are about (default: buyers); choose before you look, as trying both finds more by chance",
    )


def add_drift(commands: Any) -> None:
    """`kindred drift`."""

    def run(options: argparse.Namespace, progress: Progress) -> str | Outcome:
        from pipeline.commands.actions.drift import drift

        params = read_params(options)
        result = drift(params, model_uri=options.model or params.tracking.champion_uri, progress=progress)
        return Outcome(result.as_text(), EXIT_TRAIN_AGAIN if result.verdict == "train_again" else 0)

    summary = "compare today's customers with the training, and say whether to train again"
    command = add_command(commands, "drift", run, summary=summary)
    command.epilog = "Exit codes: 0 keep or watch the model, 3 train again, 2 user error, 1 any other failure."
    add_model(command)


def add_forget(commands: Any) -> None:
    """`kindred forget`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.actions.forget import forget
        from pipeline.ingest.customers.id_lists import read_ids

        ids = [*options.customers, *(read_ids(options.file, key="--file") if options.file else [])]
        return forget(read_params(options), ids, add_unknown=options.add_unknown, progress=progress)

    summary = "remove customers from all files and keep them out of later readings"
    command = add_command(commands, "forget", run, summary=summary)
    command.add_argument("customers", nargs="*", metavar="CUSTOMER", help="customer id, exactly as in the log")
    command.add_argument(
        "--file", type=Path, metavar="FILE", help="file of customer ids: one per line, or a column customer_id"
    )
    command.add_argument(
        "--add-unknown",
        action="store_true",
        help="also keep ids out of later readings that no file holds (default: they are refused)",
    )


def add_serve(commands: Any) -> None:
    """`kindred serve`."""

    def run(options: argparse.Namespace, progress: Progress) -> str:
        from pipeline.commands.actions.serve import serve

        return serve(read_params(options), port=options.port)

    command = add_command(
        commands, "serve", run, summary="open a page on this machine to see segments and make audiences"
    )
    command.add_argument("--port", type=int, default=8700, metavar="N", help="port (default: %(default)s)")
