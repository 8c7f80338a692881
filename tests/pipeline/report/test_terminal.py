"""Tables, notes and progress on a terminal, and the same as plain text in a pipe."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.cli import main
from pipeline.report import terminal
from pipeline.report.terminal import (
    PIPED_WIDTH,
    TerminalProgress,
    WarningHandler,
    align_columns,
    paragraphs,
    time_left,
    warnings_and_notes,
)

HEAD = ["Interests", "Customers", "Share of customers", "Share of revenue", "Stability", "Distinctive interests"]
ROWS = [
    ["Computers", "354", "1.9%", "19.5%", "very stable", "other Computers; Keyboards"],
    ["Interests not known", "10,134", "54.8%", "0.2%", "–", "Dresses; Coats; Women › Shoes"],
]


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(terminal, "time", clock)
    return clock


def of_width(monkeypatch: pytest.MonkeyPatch, chars: int | None) -> None:
    """Standard output is a terminal of this width; None: a pipe."""
    monkeypatch.setattr(terminal, "width", lambda: chars)


def test_a_table_by_hand() -> None:
    assert align_columns([["Name", "Count"], ["a", "1"], ["long name", "1,000"]], right={1}) == [
        "Name       Count",
        "a              1",
        "long name  1,000",
    ]
    assert align_columns([["Name", "Count"], ["a", "1"]], right={1}, ruled=True) == [
        "Name  Count",
        "-----------",
        "a         1",
    ]


@pytest.mark.parametrize("chars", [60, 80, 100, None])
def test_a_wide_table_is_folded_and_no_figure_is_lost(monkeypatch: pytest.MonkeyPatch, chars: int | None) -> None:
    of_width(monkeypatch, chars)
    lines = align_columns([HEAD, *ROWS], right={1, 2, 3}, ruled=True)
    assert max(map(len, lines)) <= max(chars or PIPED_WIDTH, 71)  # figures are never cut
    text = "\n".join(lines)
    assert all(figure in text for row in ROWS for figure in row[1:4])
    assert all(word in text.split() for row in [HEAD, *ROWS] for cell in row for word in cell.split())
    below = lines[[set(line) for line in lines].index({"-"}) + 1 :]
    assert below[0].split()[:4] == ["Computers", "354", "1.9%", "19.5%"]


def test_a_table_that_fits_is_not_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    of_width(monkeypatch, 120)
    lines = align_columns([HEAD, *ROWS], right={1, 2, 3})
    assert len(lines) == 3 and "Share of customers" in lines[0]


def test_commands_in_a_table_are_neither_cut_nor_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    of_width(monkeypatch, 80)
    command = "kindred train" + " --set facets.behaviour.n_segments=9" * 4
    assert align_columns([["Score", "Train"], ["0.5", command]], right={0}, whole={1})[1].endswith(command)


def test_names_in_other_scripts_are_aligned() -> None:
    lines = align_columns([["Name", "Count"], ["Кошки", "12"], ["猫", "3"]], right={1})
    assert lines[1:] == ["Кошки     12", "猫         3"]


def test_notes_are_wrapped_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    note = "a note of many words " * 12
    of_width(monkeypatch, None)
    assert paragraphs("Notes", [note]) == ["Notes", f"  - {note}"]
    of_width(monkeypatch, 60)
    title, text = paragraphs("Notes", [note])
    assert title == "Notes" and max(map(len, text.splitlines())) <= 60
    assert text.split()[1:] == note.split()
    assert paragraphs("Notes", []) == []


def test_names_from_files_do_not_command_the_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    name = "\x1b[2JCats \u202e\u00adКошки"
    terminal.show(name)
    console = Console(file=io.StringIO(), width=100)
    WarningHandler(console).emit(logging.LogRecord("kindred", logging.WARNING, "", 0, name, (), None))
    TerminalProgress(console)(name)
    params = tmp_path / "params.yaml"
    params.write_text('"se\u202eed\\e[2J": 1\n')
    assert main(["check", "--params", str(params)]) == 2
    printed = capsys.readouterr()
    shown = (printed.out, console.file.getvalue(), printed.err)  # type: ignore[attr-defined]
    assert all("\\x1b[2J" in text and "\\u202e" in text for text in shown)
    assert not any(mark in text for text in shown for mark in "\x1b\u202e")
    assert "\u00adКошки" in printed.out


def test_warnings_come_before_notes() -> None:
    assert warnings_and_notes(["one", "Warning: two", "three"]) == [
        *("Warnings", "  - two"),
        *("Notes", "  - one", "  - three"),
    ]


def test_progress_in_a_pipe_is_a_line_per_step_and_few_counts(clock: Clock) -> None:
    paper = io.StringIO()
    with TerminalProgress(Console(file=paper)) as progress:
        progress("reading")
        for _ in progress.each("trying candidates", range(10), 10):
            clock.now += 2.0
    assert paper.getvalue().splitlines() == [
        "[   0.0 s] reading",
        "[   0.0 s] trying candidates",
        "[   6.0 s] trying candidates 3/10, about 14 s left",
        "[  12.0 s] trying candidates 6/10, about 8 s left",
        "[  18.0 s] trying candidates 9/10, about 2 s left",
    ]


def test_progress_on_a_terminal_is_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    paper = io.StringIO()
    console = Console(file=paper, force_terminal=True, width=80, legacy_windows=False)
    with TerminalProgress(console) as progress:
        progress("reading")
        progress.count("trying candidates", 7, 18)
        progress.line.refresh()
        WarningHandler(console).emit(logging.LogRecord("x", logging.WARNING, "", 0, "Warning: %s", ("odd",), None))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", paper.getvalue())
    assert "trying candidates 7/18, about" in text and "Warning: odd" in text
    assert "[   " not in text
    assert paper.getvalue().endswith("\x1b[2K")  # the line is erased


def test_a_terminal_that_cannot_erase_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    paper = io.StringIO()
    with TerminalProgress(Console(file=paper, force_terminal=True)) as progress:
        progress("reading")
    assert paper.getvalue() == "[   0.0 s] reading\n"


@pytest.mark.parametrize(
    ("variables", "is_coloured"),
    [({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False), ({}, False)],
)
def test_colour_only_on_a_terminal_without_no_color(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], is_coloured: bool
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    text = "Report   a.html\nWarnings\n  - [red]not markup[/red]"
    terminal.show(text)
    printed = capsys.readouterr().out
    assert ("\x1b[33m" in printed) == is_coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", printed) == f"{text}\n"


def test_a_long_command_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    command = "Next     kindred train" + " --set facets.behaviour.n_segments=9" * 9
    terminal.show(command)
    assert capsys.readouterr().out == f"{command}\n"


def test_time_left_by_hand() -> None:
    assert time_left(0.1, 1, 2) == "about 1 s left"
    assert time_left(50.0, 1, 3) == "about 2 min left"
    assert time_left(5.0, 2, 2) == ""


def test_names_of_files_that_are_no_text_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show("log\udc9b2J.csv\x1b[2J Чай ☕ \U0001f408")
    assert capsys.readouterr().out == "log\\udc9b2J.csv\\x1b[2J Чай ☕ \U0001f408\n"
