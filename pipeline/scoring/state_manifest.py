"""The manifest of the state: which files belong together, what they were made from, and how far they go."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NaiveDatetime, PlainSerializer, ValidationError

from pipeline.config.errors import UserError
from pipeline.stores import files

MANIFEST = "manifest.json"
LAYOUT = 10
"""Version of the manifest and of the files it lists."""
REMEDY = "Delete that folder to start again; the next --update then rebuilds the state."
Moment = Annotated[NaiveDatetime, PlainSerializer(str)]
"""UTC without a zone, as in the events."""


class StateError(UserError):
    """The state cannot be used, or the source does not fit it."""


class Entry(BaseModel):
    """A part of the manifest."""

    model_config = ConfigDict(frozen=True)


class StateFingerprint(Entry):
    """What a state was made from; another model or source needs another state.

    Attributes
    ----------
    customers_sha256 : str
        `pipeline.ingest.source.customers_digest`. If it has changed, the state is built again.
    """

    layout: int = LAYOUT
    model_uri: str
    params_sha256: str
    source_sha256: str
    customers_sha256: str = ""

    def differences(self, other: StateFingerprint) -> list[str]:
        """What ``self`` was made from that ``other`` was not, in words."""
        words = {
            "layout": "another version of Kindred",
            "model_uri": f"another model ({self.model_uri[:80]}, not {other.model_uri})",
            "params_sha256": "a model trained with other parameters",
            "source_sha256": "a source with other settings in params.yaml",
        }
        return [text for name, text in words.items() if getattr(self, name) != getattr(other, name)]


class StateFile(Entry):
    """A file of the state."""

    file: Annotated[str, Field(pattern=r"^[a-z]+-\d+\.parquet$")]
    sha256: str


class MeasuresFile(StateFile):
    """Measures of customers."""

    row_count: int


class EventsPart(StateFile):
    """Events from ``start`` to before ``until``. The file may hold others, which do not count."""

    start: Moment
    until: Moment
    row_count: int


class Manifest(StateFingerprint):
    """The content of manifest.json.

    Attributes
    ----------
    number : int
        Number of updates since the state was built; new files have it in their names.
    reread_from : datetime
        Events from then on are read again by the next update, as some may arrive late.
    older_row_count : int
        Rows of the log before ``reread_from``.
    measures : tuple of MeasuresFile
        The last file with a customer counts.
    products : StateFile or None
        The catalogue; None if the source has none.
    events : tuple of EventsPart
        Parts that follow one another in time.
    """

    number: int
    as_of: Annotated[AwareDatetime, PlainSerializer(datetime.isoformat)]
    reread_from: Moment
    older_row_count: int
    measures: tuple[MeasuresFile, ...]
    products: StateFile | None
    seasons: StateFile
    events: tuple[EventsPart, ...]

    def listed(self) -> list[StateFile]:
        """All files of the state."""
        return [*self.measures, *([self.products] if self.products else []), self.seasons, *self.events]

    def as_json(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return self.model_dump(mode="json")


def is_intact(folder: Path, entry: StateFile) -> bool:
    """Whether a file of the state is in its folder, which a link may lead out of, and as it was written."""
    file = folder / entry.file
    return file.is_file() and not file.is_symlink() and files.file_digest(file) == entry.sha256


def load(folder: Path, fingerprint: StateFingerprint, as_of: datetime) -> Manifest | None:
    """The manifest, after checking that every file it lists is present and intact; None if there is no state.

    Raises
    ------
    StateError
        The state is damaged, newer than ``as_of``, or was made from something else.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8")
        # Read first, as another version of Kindred may have written another form.
        differences = StateFingerprint.model_validate_json(text).differences(fingerprint)
        manifest = None if differences else Manifest.model_validate_json(text)
    except (UnicodeDecodeError, ValidationError):
        raise StateError(f"{path}: the state's manifest is damaged. {REMEDY}") from None
    if manifest is None:
        raise StateError(
            f"{folder}: expected a state from this model and source; it comes from {' and '.join(differences)}. "
            f"{REMEDY}"
        )
    if manifest.as_of > as_of:
        raise StateError(
            f"as_of: expected {manifest.as_of:%Y-%m-%d %H:%M:%S} (the date of the state) or later; got "
            f"{as_of:%Y-%m-%d %H:%M:%S}. A state cannot go back in time: score without --update. Or delete {folder} to "
            "start again; the next --update then rebuilds the state."
        )
    edges = [edge for part in manifest.events for edge in (part.start, part.until)]
    if any(later < earlier for earlier, later in pairwise(edges)):
        raise StateError(f"{path}: expected event parts that follow one another; they overlap. {REMEDY}")
    for entry in manifest.listed():
        file = folder / entry.file
        if not is_intact(folder, entry):
            raise StateError(f"{file}: this file of the state is missing or damaged. {REMEDY}")
    return manifest
