"""`kindred`: the command line."""

from __future__ import annotations

import atexit
import gc
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.arguments import parser
from pipeline.arguments.common import Outcome

EXIT_USER_ERROR = 2
EXIT_FAILURE = 1
STOPPED = (
    "kindred: stopped. No partial files are in the outputs folder. A run that was begun stays in MLflow, as KILLED."
)
OBJECTS_BEFORE_COLLECTION = 200_000
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0 on success, 2 for a user error and 1 for any other failure."""
    options = parser().parse_args(arguments)
    from pipeline.config.errors import UserError
    from pipeline.report import terminal
    from pipeline.stores.local.work_folders import own_temporary_files

    messages = terminal.messages()
    logging.basicConfig(format="%(message)s", handlers=[terminal.WarningHandler(messages)])
    for library in ("mlflow", "alembic", "numba", "matplotlib"):
        logging.getLogger(library).setLevel(logging.ERROR)
    if not options.debug:
        warnings.filterwarnings("ignore")
    try:
        replaced = _replaced_file(getattr(options, "out", None))
        with (
            terminated_as_interrupted(),
            own_temporary_files(),
            rare_garbage_collection(),
            terminal.TerminalProgress(messages) as progress,
        ):
            outcome = options.run(options, progress)
        if isinstance(outcome, str):
            outcome = Outcome(outcome, 0)
        if outcome.text:
            terminal.show(outcome.text)
        if replaced is not None:
            _show_replaced(replaced)
        return outcome.exit_code
    except UserError as error:
        print(f"kindred: {terminal.printable(str(error))}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        # Python exits with 130 if the last exec was interrupted, such as that of an imported dataclass.
        exec("")
        print(STOPPED, file=sys.stderr)
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


def _replaced_file(out: Path | None) -> Path | None:
    """The file that --out will replace."""
    from pipeline.config.errors import UserError

    try:
        return out if out is not None and out.is_file() else None
    except OSError as error:
        raise UserError(f"--out: expected a place where a file can be. {error.strerror}. Name another.") from None


def _show_replaced(path: Path) -> None:
    """Say that a file was replaced; of a database, only a table was."""
    from pipeline.report import terminal
    from pipeline.stores.writers import DATABASES

    if path.suffix not in DATABASES:
        terminal.show(f"Replaced  {path}, which was there before")


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, and the end of the terminal, do what Ctrl+C does: runs are closed, and what was begun is deleted."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield
        return
    # A command under nohup ignores the end of its terminal.
    before = {one: found for one in ENDING_SIGNALS if (found := signal.getsignal(one)) != signal.SIG_IGN}

    def interrupt(*_: object) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)  # cleaning up is not to be interrupted
        raise KeyboardInterrupt

    for one in before:
        signal.signal(one, interrupt)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


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


if __name__ == "__main__":
    sys.exit(main())
