"""Where audiences are kept: who was sent a campaign and who was held out, by audience and date.

A folder for each audience below `audiences` in the outputs folder. Its files are named by the scores' as_of; a manifest
lies next to each. They hold customer ids, so that only their owner can read them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audiences.build import SEND, Audience, Excluded
from pipeline.stores import files
from pipeline.stores.writers import write_table

FOLDER, KEY = "audiences", ".key"
STAMP = "%Y-%m-%dT%H%M%S"
KEY_BYTES = 32


@dataclass(frozen=True)
class StoredAudience:
    """An audience as it was on one date."""

    name: str
    as_of: datetime
    path: Path

    def table(self, columns: list[str] | None = None) -> pd.DataFrame:
        """`Audience.table`, or some of its columns."""
        return pq.read_table(self.path, columns=columns).to_pandas()


def control_key(outputs: Path) -> str:
    """The secret that control groups are drawn with; created once per outputs folder."""
    path = outputs / FOLDER / KEY
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path, mode=files.PRIVATE) as temporary:
            temporary.write_text(secrets.token_hex(KEY_BYTES), encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


def store(outputs: Path, audience: Audience, *, model_uri: str) -> StoredAudience:
    """Keep an audience, and what it was selected by."""
    folder = outputs / FOLDER / audience.name
    path = folder / f"{audience.as_of.strftime(STAMP)}.parquet"
    write_table(path, pa.Table.from_pandas(audience.table, preserve_index=False), mode=files.PRIVATE)
    files.write_json(
        path.with_suffix(".json"),
        {
            "audience": audience.name,
            "as_of": audience.as_of.isoformat(),
            "model_uri": model_uri,
            "definition": audience.definition.model_dump(mode="json"),
            "steps": [{"text": step.text, "customer_count": step.customer_count} for step in audience.steps],
            "sha256": files.file_digest(path),
        },
    )
    return StoredAudience(audience.name, audience.as_of, path)


def stored_audiences(outputs: Path, name: str | None = None) -> Iterator[StoredAudience]:
    """Every audience that was kept, or those of one name; by name, then date."""
    for path in sorted((outputs / FOLDER).glob(f"{name or '*'}/*.parquet")):
        if re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}", path.stem):
            as_of = datetime.strptime(path.stem, STAMP).replace(tzinfo=UTC)
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
