"""Section `outputs` of params.yaml: where results are written."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.types import DatabaseVariable, LocalPath, Section


class TablesParams(Section):
    """Where scores, changes and audiences are also written as tables: a schema of PostgreSQL, or a folder."""

    uri: DatabaseVariable | None = None
    schema_name: Annotated[str, Field(min_length=1, max_length=63)] = "kindred"
    delta: str | None = None

    @model_validator(mode="after")
    def _one_target(self) -> TablesParams:
        if (self.uri is None) == (self.delta is None):
            raise ValueError("expected exactly one of `uri` (of PostgreSQL) and `delta` (a folder)")
        return self


def _is_file_or_folder(value: str) -> str:
    if not re.fullmatch(r"(.*/)?([^/]+\.(parquet|csv)|[^./]+/?)", value):
        raise ValueError("expected a file name ending in .parquet or .csv, or a folder without a suffix")
    return value


class OutputsParams(Section):
    """Locations of results."""

    folder: LocalPath
    scores: Annotated[LocalPath, AfterValidator(_is_file_or_folder)]
    # Not part of a model: it says what is done with its scores.
    tables: Annotated[TablesParams | None, Field(exclude=True)] = None
    # Not part of the digest: it changes no result.
    group_readable: Annotated[bool, Field(exclude=True)] = False

    @property
    def mode_with_ids(self) -> int:
        """Permissions of files that hold customers' ids and are not always their owner's alone."""
        return 0o640 if self.group_readable else 0o600
