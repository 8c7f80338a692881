"""Removes customers from the state of `score --update`, so that the next update gives what a rebuild would give."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import ValidationError

from features.events import ObservationWindow
from pipeline.config.errors import UserError
from pipeline.forgetting.tables import Forgotten, count_rows, write_without
from pipeline.profiles.seasonality import period_totals
from pipeline.scoring import state
from pipeline.scoring.state_manifest import MANIFEST, EventsPart, Manifest, MeasuresFile, StateFile, is_intact
from pipeline.scoring.trained_model import open_model
from pipeline.stores import files
from pipeline.stores.database import materialise
from pipeline.stores.workspace import Workspace


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of the state; None if there is none, or none that an update could use."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None
    return manifest if all(is_intact(folder, entry) for entry in manifest.listed()) else None


def delete_leftovers(folder: Path) -> None:
    """Delete files of the state that belong to no manifest; all of them if no update could use it."""
    if folder.is_dir():
        state.delete_unlisted(folder, read_manifest(folder))


def forget_in_state(session: Workspace, customers: Forgotten) -> None:
    """Replace the files that hold rows of the customers, then the manifest, and delete the old files.

    The shop's totals by period are computed again from the events that are left. If the state's model is gone, no
    update could use the state, and it is deleted.
    """
    folder = session.folder / state.FOLDER
    manifest = read_manifest(folder)
    if manifest is None:
        return
    try:
        trained = open_model(session, manifest.model_uri)
    except UserError:
        state.delete_unlisted(folder, None)
        return
    numbers = itertools.count(manifest.number + 1)
    measures = tuple(_measures_without(folder, part, customers, numbers) for part in manifest.measures)
    events = tuple(_events_without(session, folder, part, customers, numbers) for part in manifest.events)
    window = ObservationWindow(manifest.as_of, trained.shop.spec.history_days)
    left = state.view_parts(session.con, folder, events)
    totals = period_totals(left, trained.params_at(manifest.as_of), window)
    materialise(session.con, totals, state.SEASON_SUMS)
    number = next(numbers)
    seasons = state.write_seasons(state.NumberedFiles(session.con, folder, number))
    changes = {"number": number, "measures": measures, "events": events, "seasons": seasons}
    new = manifest.model_copy(update=changes)
    files.write_json(folder / MANIFEST, new.as_json())
    state.delete_unlisted(folder, new)


def _measures_without(folder: Path, part: MeasuresFile, customers: Forgotten, numbers: Iterator[int]) -> MeasuresFile:
    written = _written_without(folder, part, customers, numbers)
    if written is None:
        return part
    row_count = pq.read_metadata(folder / written.file).num_rows
    return MeasuresFile(file=written.file, sha256=written.sha256, row_count=row_count)


def _events_without(
    session: Workspace, folder: Path, part: EventsPart, customers: Forgotten, numbers: Iterator[int]
) -> EventsPart:
    written = _written_without(folder, part, customers, numbers)
    if written is None:
        return part
    new = part.model_copy(update=written.model_dump())
    row_count = int(state.view_parts(session.con, folder, [new]).count().to_pyarrow().as_py())
    return new.model_copy(update={"row_count": row_count})


def _written_without(folder: Path, entry: StateFile, customers: Forgotten, numbers: Iterator[int]) -> StateFile | None:
    """A new file without the customers; None if the old one has no row of theirs."""
    old = folder / entry.file
    if not count_rows(old, customers)[0]:
        return None
    path = folder / re.sub(r"\d+", f"{next(numbers):06}", entry.file)
    with files.replacing(path, mode=files.PRIVATE) as temporary:
        write_without(old, customers, temporary)
    return StateFile(file=path.name, sha256=files.file_digest(path))
