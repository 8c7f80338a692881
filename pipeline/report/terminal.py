"""The terminal: results, warnings, tables and progress.

Results go to standard output, progress and warnings to standard error. What is piped is plain text: no colour, no
wrapped notes, and tables of at most `PIPED_WIDTH` characters.
"""

from __future__ import annotations

import io
import logging
import re
import sys
import textwrap
import time
from collections.abc import Collection, Iterable, Sequence
from types import TracebackType

from rich import progress as bars
from rich.box import Box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.highlighter import RegexHighlighter
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from pipeline.config.progress import Progress

MAX_CHARS = 48
PIPED_WIDTH = 100
MIN_TEXT_WIDTH = 12
"""Columns of text are folded to no less than this; a table that still does not fit is wider than the terminal."""
MIN_HEAD_WIDTH = 8
SECONDS_BETWEEN_COUNTS = 5.0
INDENT = "  "
LINE_UNDER_HEAD = Box("    \n    \n -- \n    \n    \n    \n    \n    \n")
WARNING = "Warning: "
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that command a terminal, reorder what it shows, or cannot be encoded."""
THEME = Theme({"kindred.warning": "yellow", "kindred.label": "bold"})


class Labels(RegexHighlighter):
    """Colours of the first words of a line."""

    base_style = "kindred."
    highlights = (
        r"(?m)^(?P<warning>Warnings?\b.*)$",
        r"(?m)^(?P<label>Found|Report|Run|Model|Next|Scores|Workbook|History|Moves|Page|Names|Notes)(?=\s{2,}|$)",
    )


def results() -> Console:
    """The console of results: standard output."""
    return Console(file=sys.stdout, theme=THEME, highlighter=Labels(), markup=False, emoji=False)


def messages() -> Console:
    """The console of progress, warnings and errors: standard error."""
    return Console(file=sys.stderr, theme=THEME, highlighter=Labels(), markup=False, emoji=False)


def printable(text: str) -> str:
    r"""A text that may hold names from files, with its control characters written out.

    Examples
    --------
    >>> printable("Cats\x1b[2J")
    'Cats\\x1b[2J'
    """
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def show(text: str) -> None:
    """Print a result."""
    # With soft wrapping, the terminal itself breaks long lines, so a command can still be copied as one line.
    results().print(printable(text), soft_wrap=True)


def width() -> int | None:
    """Characters in a line of standard output; None if it is not a terminal."""
    console = results()
    return console.width if console.is_terminal else None


class WarningHandler(logging.Handler):
    """Prints log records to standard error, wrapped at the width of a terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        self.console.print(printable(self.format(record)), soft_wrap=not self.console.is_terminal)


class TerminalProgress(Progress):
    """Shows steps with the seconds since the start: one updating line on a terminal, plain lines elsewhere.

    A count comes with the time left. Elsewhere than on a terminal, there is at most one count every
    `SECONDS_BETWEEN_COUNTS`.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.is_live = console.is_terminal and not console.is_dumb_terminal
        self.started = self.step_started = self.shown = time.monotonic()
        self.line = bars.Progress(
            bars.SpinnerColumn(),
            bars.TimeElapsedColumn(),
            bars.TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            disable=not self.is_live,
            refresh_per_second=4,
            redirect_stdout=False,
        )
        self.task = self.line.add_task("starting", total=None)

    def __enter__(self) -> TerminalProgress:
        self.line.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.line.stop()

    def __call__(self, step: str) -> None:
        """Show that a step begins."""
        self.step_started = time.monotonic()
        self._show(step)

    def count(self, step: str, done: int, total: int) -> None:
        """Show how much of a step is done, and about how long the rest takes."""
        now = time.monotonic()
        if not done:
            self(step)
        elif self.is_live or now - self.shown >= SECONDS_BETWEEN_COUNTS:
            left = time_left(now - self.step_started, done, total)
            self._show(f"{step} {done:,}/{total:,}{', ' * bool(left)}{left}")

    def _show(self, text: str) -> None:
        self.shown, text = time.monotonic(), printable(text)
        if not self.is_live:
            self.console.print(f"[{self.shown - self.started:6.1f} s] {text}", soft_wrap=True)
        else:
            self.line.update(self.task, description=text)


def time_left(seconds: float, done: int, total: int) -> str:
    """About how long the rest of a step takes; empty if nothing is left.

    Examples
    --------
    >>> time_left(28.0, 7, 17), time_left(600.0, 1, 2), time_left(3.0, 4, 4)
    ('about 40 s left', 'about 10 min left', '')
    """
    left = seconds / done * (total - done)
    if done >= total:
        return ""
    return f"about {left / 60:.0f} min left" if left >= 100 else f"about {max(left, 1):.0f} s left"


def align_columns(
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    whole: Collection[int] = (),
    max_chars: int = MAX_CHARS,
    ruled: bool = False,
) -> list[str]:
    """Lines of a table that fits the terminal.

    If it is too wide, the heads of the columns of figures are folded first, then the columns of text.

    Parameters
    ----------
    rows : sequence of sequences of str
        The head and the rows. Cells are cut to ``max_chars``, and those of text are on one line: a name from a file
        could write lines of its own.
    right : collection of int
        Columns of figures: aligned to the right, and not folded under the head.
    whole : collection of int
        Columns of text that are neither cut nor folded, such as commands.
    ruled : bool
        Whether there is a line under the head.
    """
    columns = [
        [text if at in whole else " ".join(text.splitlines())[:max_chars] for text in column]
        for at, column in enumerate(zip(*rows, strict=True))
    ]
    wanted = width() or PIPED_WIDTH
    if _table_width(map(_chars, columns)) > wanted:
        columns = [_with_folded_head(column) if at in right else column for at, column in enumerate(columns)]
    fixed = {*right, *whole}
    least = [
        _chars(column) if at in fixed else min(_chars(column), MIN_TEXT_WIDTH) for at, column in enumerate(columns)
    ]
    table = Table(
        box=LINE_UNDER_HEAD if ruled else None,
        padding=(0, 1 if ruled else 2, 0, 0),
        show_edge=False,
        pad_edge=False,
        header_style="",
    )
    for at, column in enumerate(columns):
        justify: JustifyMethod = "right" if at in right else "left"
        table.add_column(Text(column[0]), justify=justify, no_wrap=at in fixed, overflow="fold")
    for row in zip(*(column[1:] for column in columns), strict=True):
        table.add_row(*map(Text, row))
    paper = io.StringIO()
    Console(file=paper, width=max(wanted, _table_width(least)), color_system=None, legacy_windows=False).print(table)
    return [line.rstrip() for line in paper.getvalue().splitlines()]


def _chars(column: Sequence[str]) -> int:
    """The characters of the widest line of a column."""
    return max(cell_len(line) for text in column for line in (text.splitlines() or [""]))


def _table_width(widths: Iterable[int]) -> int:
    """The characters of a row, with two spaces between columns."""
    return sum(chars + 2 for chars in widths) - 2


def _with_folded_head(column: Sequence[str]) -> list[str]:
    """A column with its head on several lines, none wider than the other cells or than its longest word."""
    head, *others = column
    widest = max(MIN_HEAD_WIDTH, *map(cell_len, [*others, *head.split()]))
    return ["\n".join(textwrap.wrap(head, widest, break_long_words=False)), *others]


def paragraphs(title: str, texts: Sequence[str]) -> list[str]:
    """A title and each text as a paragraph, wrapped at the width of the terminal; empty without texts."""
    if not texts:
        return []
    chars = width()
    wrap = textwrap.TextWrapper(
        width=max(chars or 0, 40),
        initial_indent=f"{INDENT}- ",
        subsequent_indent=INDENT * 2,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [title, *(wrap.fill(text) if chars else f"{INDENT}- {text}" for text in texts)]


def warnings_and_notes(texts: Sequence[str]) -> list[str]:
    """Texts under the titles Warnings and Notes; warnings begin with `WARNING`."""
    warnings = [text.removeprefix(WARNING) for text in texts if text.startswith(WARNING)]
    notes = [text for text in texts if not text.startswith(WARNING)]
    return [*paragraphs("Warnings", warnings), *paragraphs("Notes", notes)]


def counted(count: float, noun: str) -> str:
    """A count with its noun.

    Examples
    --------
    >>> counted(1, "order"), counted(2000, "visit")
    ('1 order', '2,000 visits')
    """
    return f"{count:,.10g} {noun}{'' if count == 1 else 's'}"
