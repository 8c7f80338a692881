"""The tables that were read, and warnings about them."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.ingest.files.raw_tables import RawTable


@dataclass
class Findings:
    """The tables that were read, and warnings about them.

    Attributes
    ----------
    tables : dict of str to RawTable
        Tables by their key in `source` of params.yaml.
    warnings : list of str
        In plain words, without any customer's data.
    left_out : dict of str to int
        Rows of the events that are left out on purpose, by reason; they are neither accepted nor rejected.
    """

    tables: dict[str, RawTable] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def add(self, key: str, raw: RawTable) -> RawTable:
        """Record a table that was read."""
        self.tables[key] = raw
        self.warnings += raw.warnings
        if raw.unreadable:
            self.warnings.append(f"{key}: {len(raw.unreadable):,} rows could not be read and were left out")
        return raw
