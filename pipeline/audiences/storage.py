"""Where audiences are kept: who was sent a campaign and who was held out, by audience and date.

A folder for each audience below `audiences` in the outputs folder. Its files are named by the scores' as_of; a manifest
lies next to each. They hold customer ids, so that only their owner can read them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audiences.build import HELD_OUT, SEND, Audience, Excluded
from pipeline.audiences.selection import CUSTOMER_ID, AudienceError
from pipeline.config.redaction import HIDDEN
from pipeline.stores import files
from pipeline.stores.writers import write_table

FOLDER, KEY = "audiences", ".key"
STAMP = "%Y-%m-%dT%H%M%S"


@dataclass(frozen=True)
class StoredAudience:
    """An audience as it was on one date."""

    name: str
    as_of: datetime
    path: Path

    @property
    def effect_path(self) -> Path:
        """Where `pipeline.audiences.effect` keeps what its campaign brought."""
        return self.path.with_name(f"{self.path.stem}-effect.json")

    @property
    def holdout_share(self) -> float:
        """The share of customers that was to be held out."""
        return float(self.definition["holdout_share"])

    @property
    def definition(self) -> dict[str, Any]:
        """What it was selected by (`_definition_without_ids`); empty without a manifest, as after a crash."""
        manifest = self.path.with_suffix(".json")
        return json.loads(manifest.read_text(encoding="utf-8"))["definition"] if manifest.exists() else {}

    def table(self, columns: list[str] | None = None) -> pd.DataFrame:
        """`Audience.table`, or some of its columns."""
        return pq.read_table(self.path, columns=columns).to_pandas()


def control_key(outputs: Path) -> str:
    """The secret that control groups are drawn with; created once per outputs folder."""
    return files.secret(outputs / FOLDER / KEY)


def dated_file(folder: Path, as_of: datetime) -> Path:
    """The file of what is kept for a moment."""
    return folder / f"{as_of.astimezone(UTC).strftime(STAMP)}.parquet"


def dated_files(folder: Path, below: str = "") -> Iterator[tuple[Path, datetime]]:
    """Files named by `dated_file`, with their moments, in the folders that the glob ``below`` names, such as `*/`."""
    for path in sorted(folder.glob(f"{below}*.parquet")):
        if re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}", path.stem):
            yield path, datetime.strptime(path.stem, STAMP).replace(tzinfo=UTC)


def list_folder(outputs: Path) -> Path:
    """Where lists are written by default."""
    return outputs / FOLDER


def store(outputs: Path, audience: Audience, *, model_uri: str) -> StoredAudience:
    """Keep an audience, and what it was selected by. An effect measured on an earlier one of the moment is deleted.

    Raises
    ------
    AudienceError
        An earlier one of the moment has another control group.
    """
    path = dated_file(outputs / FOLDER / audience.name, audience.as_of)
    stored = StoredAudience(audience.name, audience.as_of, path)
    _require_same_control_group(stored, audience)
    stored.effect_path.unlink(missing_ok=True)
    write_table(path, pa.Table.from_pandas(audience.table, preserve_index=False), mode=files.PRIVATE)
    files.write_json(
        path.with_suffix(".json"),
        {
            "audience": audience.name,
            "as_of": audience.as_of.isoformat(),
            "model_uri": model_uri,
            "definition": _definition_without_ids(audience),
            "steps": [{"text": step.text, "customer_count": step.customer_count} for step in audience.steps],
            "sha256": files.file_digest(path),
        },
    )
    return stored


def has_other_conditions(outputs: Path, audience: Audience) -> bool:
    """Whether the last audience of this name was selected by other conditions; call it before `store`."""
    *_, last = [None, *stored_audiences(outputs, audience.name)]
    conditions = _definition_without_ids(audience)["where"]
    return last is not None and last.definition.get("where", conditions) != conditions


def _definition_without_ids(audience: Audience) -> dict[str, Any]:
    """What the audience is selected by. The Parquet file has the ids of customers, from which they can be forgotten."""
    definition = audience.definition.model_dump(mode="json")
    if CUSTOMER_ID in definition["where"]:
        definition["where"][CUSTOMER_ID] = HIDDEN
    return definition


def _require_same_control_group(stored: StoredAudience, audience: Audience) -> None:
    """Refuse to change who was held out of a list that may have been sent: its effect could not be measured any more.

    An audience that nobody was held out of may be made again with a control group.
    """
    if not stored.path.exists():
        return
    kept = stored.table(["customer_id", "group"])
    held_out = set(kept.loc[kept["group"] == HELD_OUT, "customer_id"])
    holds_out = set(audience.table.loc[audience.table["group"] == HELD_OUT, "customer_id"])
    if not held_out or holds_out & set(kept["customer_id"]) == held_out:
        return
    share = stored.holdout_share
    is_same_share = share == audience.definition.holdout_share
    cause = (
        "its conditions or the scores have changed since" if is_same_share else f"repeat it with --holdout {share:g}"
    )
    raise AudienceError(
        f"audiences.{audience.name}: expected the control group that is kept for {stored.as_of:%Y-%m-%d %H:%M} "
        f"({len(held_out):,} of {len(kept):,} customers held out), got one with {len(holds_out & held_out):,} of them: "
        f"{cause}. Nothing was written, so that `kindred effect` can still measure the list if it was sent. If it was "
        f"not, delete {stored.path} to start anew."
    )


def stored_audiences(outputs: Path, name: str | None = None) -> Iterator[StoredAudience]:
    """Every audience that was kept, or those of one name; by name, then date."""
    for path, as_of in dated_files(outputs / FOLDER, f"{name or '*'}/"):
        yield StoredAudience(path.parent.name, as_of, path)


def recently_contacted(outputs: Path, as_of: datetime, days: float) -> Excluded:
    """Customers who were sent any audience in the ``days`` before ``as_of``; audiences of the same moment do not count.

    Otherwise the second of two audiences would depend on the order in which they are made.
    """
    since = as_of - timedelta(days=days)
    contacted: set[str] = set()
    for stored in stored_audiences(outputs):
        if since <= stored.as_of < as_of:
            table = stored.table(["customer_id", "group"])
            contacted |= set(table.loc[table["group"] == SEND, "customer_id"])
    return Excluded(f"contacted in the last {days:g} days", frozenset(contacted))
