"""The arguments of each command, with the function that runs it.

The code of a command is imported only when it runs, so ``--help`` answers at once.
"""

from __future__ import annotations

import argparse

from pipeline.arguments import actions, segments

START = (
    "Where to start: `kindred simulate --out demo/shop`, then `kindred train`; or `kindred init FILE ...`, which "
    "describes your own log in a params file, and `kindred check --params FILE`."
)
COMMANDS = (
    segments.add_simulate,
    segments.add_init,
    segments.add_check,
    segments.add_train,
    segments.add_score,
    segments.add_report,
    actions.add_serve,
    actions.add_audience,
    actions.add_changes,
    actions.add_effect,
    actions.add_drift,
    actions.add_forget,
    segments.add_explain,
    segments.add_rename,
    segments.add_compare,
    segments.add_promote,
    segments.add_history,
    segments.add_migration,
    segments.add_backtest,
)
"""In the order of ``--help``: that in which a newcomer needs them."""


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
