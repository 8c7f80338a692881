"""The engine that computes profiles, and the memory and folders it may use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from pipeline.config.types import LocalPath, Section

OF_ONE_MACHINE = tuple(map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/run")))
"""Folders that each machine has for itself."""


def _is_of_one_machine(folder: Path) -> bool:
    """Whether only this machine has a folder. What is mounted below those folders may be shared."""
    for local in OF_ONE_MACHINE:
        if folder.is_relative_to(local):
            return not any(os.path.ismount(each) for each in (folder, *folder.parents) if local in each.parents)
    return False


class SparkParams(Section):
    """Apache Spark, where one machine is not enough."""

    master: str = "local[*]"
    conf: dict[str, str | int | float | bool] = Field(default_factory=dict)
    scratch: LocalPath | None = None

    @model_validator(mode="after")
    def _check_scratch(self) -> Self:
        is_shared = self.scratch is not None and not _is_of_one_machine(Path(self.scratch))
        if not is_shared and not self.master.startswith("local"):
            raise ValueError(
                "expected in engine.spark.scratch a folder that this machine and all workers share, as "
                f"engine.spark.master is not local. Got {self.scratch or 'null'}."
            )
        return self


class EngineParams(Section):
    """The engine."""

    memory_limit: Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s*[KMGT]i?B$")]
    threads: Annotated[int, Field(ge=0)]
    temp_directory: LocalPath | None
    max_temp_directory_size: Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s*[KMGT]i?B$")]
    # Not part of the digest: they change no result.
    kind: Annotated[Literal["duckdb", "spark"], Field(exclude=True)] = "duckdb"
    spark: Annotated[SparkParams, Field(exclude=True)] = SparkParams()
    allowed_folders: Annotated[tuple[str, ...], Field(exclude=True)] = ()
    _params_folder: Path = PrivateAttr(default=Path())

    @property
    def temp_folder(self) -> Path | None:
        """``temp_directory``, relative to the folder of params.yaml."""
        return None if self.temp_directory is None else self._params_folder / self.temp_directory

    @property
    def scratch_folder(self) -> Path | None:
        """``spark.scratch``, relative to the folder of params.yaml."""
        return None if self.spark.scratch is None else self._params_folder / self.spark.scratch
