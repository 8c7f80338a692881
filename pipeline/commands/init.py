"""`kindred init`: looks at an export and writes a params file that describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pipeline.commands.check import reading_text, totals_lines
from pipeline.config.errors import UserError
from pipeline.config.load import load_params
from pipeline.config.progress import Progress
from pipeline.ingest.findings.summary import ReadingSummary
from pipeline.ingest.findings.totals import shop_totals
from pipeline.ingest.source import read_source
from pipeline.presets.describe import describe
from pipeline.presets.description import Description
from pipeline.presets.export_files import ExportError, find_files, load_tables
from pipeline.presets.params_file import BASE, NOT_YET, own_folders, params_text
from pipeline.presets.preview import LogEnd, first_rows, log_end
from pipeline.report.terminal import counted, paragraphs
from pipeline.stores.database import connect
from pipeline.stores.files import require_not_read, write_text
from pipeline.stores.workspace import workspace


@dataclass(frozen=True)
class _Reading:
    summary: ReadingSummary
    end: LogEnd
    first_rows: list[str]
    totals: list[str]
    timezone: str


def init(places: Sequence[Path], *, preset: str | None, out: Path, overwrite: bool, progress: Progress) -> str:
    """Describe the files in ``places`` in the params file ``out``; returns what was understood as text.

    Raises
    ------
    UserError
        The files cannot be described, ``out`` exists already, or the log described cannot be read. In the last case
        ``out`` is written, to be corrected.
    """
    files = find_files(places, leave_out=own_folders(out))
    _require_free(out, overwrite=overwrite)
    require_not_read(out, files)
    progress("looking at the files")
    base = load_params(BASE)
    with connect(base.engine, folder=out.parent) as con:
        described = describe(con, load_tables(con, base, files), preset, folder=out.parent)
    write_text(out, params_text(described, out=out, as_of=NOT_YET, files=files))
    progress("reading and checking")
    try:
        reading = _read(out)
    except UserError as error:
        raise ExportError(
            f"{error}\n{out} is written as far as the files could be understood: correct it there, set as_of, and run "
            f"kindred check --params {out}"
        ) from None
    if reading.end.stray_count:
        described.notes.append(
            f"Long after all others, which end on {reading.end.last_at:%Y-%m-%d}: "
            f"{counted(reading.end.stray_count, 'event')}, probably with wrong times. as_of leaves them out."
        )
    write_text(out, params_text(described, out=out, as_of=_midnight_after(reading.end.last_at), files=files))
    return _as_text(described, reading, out)


def _require_free(out: Path, *, overwrite: bool) -> None:
    if out.exists() and (not overwrite or out.samefile(BASE)):
        advice = "Name another file with --out" + ("." if out.samefile(BASE) else ", or add --overwrite.")
        raise ExportError(f"{out}: expected a new file, but it exists. {advice}")


def _read(out: Path) -> _Reading:
    """Read the log that the params file describes."""
    params = load_params(out)
    with workspace(params) as session:
        source = read_source(session.con, params, rejected_path=session.folder / "rejected.parquet")
        totals = totals_lines(shop_totals(source.events, params.as_of), params.currency)
        return _Reading(source.summary, log_end(session.con), first_rows(session.con), totals, params.local_timezone)


def _midnight_after(moment: datetime) -> str:
    """The first midnight after a moment, UTC."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return f"{day + timedelta(days=1):%Y-%m-%dT%H:%M:%S}Z"


def _as_text(described: Description, reading: _Reading, out: Path) -> str:
    return "\n".join(
        [
            f"{described.heading} The first rows, as they were understood; ids and search texts are shortened:",
            "",
            *reading.first_rows,
            "",
            reading_text(reading.summary, reading.timezone, reading.totals),
            *paragraphs("Notes", described.notes),
            "",
            f"Written   {out}: compare the rows and totals above with what you know of the shop",
            f"Next      kindred check --params {out}",
        ]
    )
