"""Tables of Spark, as files that the reader of a log knows."""

from __future__ import annotations

import re

from pyspark.errors import AnalysisException

from pipeline.config.params import Params
from pipeline.config.sections.source import Table
from pipeline.ingest.files.raw_tables import SourceError
from pipeline.stores.engines.spark import Spark


def with_tables_as_files(engine: Spark, params: Params) -> Params:
    """``params`` in which each `table` of the source is the `path` of a copy: Parquet files that tasks wrote.

    Raises
    ------
    SourceError
        Spark has no such table.
    """
    copies = {
        name: table.model_copy(update={"table": None, "path": _copy(engine, table.table, name), "format": "parquet"})
        for name, table in params.source
        if isinstance(table, Table) and table.table is not None
    }
    return params.model_copy(update={"source": params.source.model_copy(update=copies)})


def _copy(engine: Spark, table: str, name: str) -> list[str]:
    """The files of a copy, named after the table: messages and rejected rows name them."""
    folder = engine.scratch / f"source-{name}"
    try:
        rows = engine.backend.session.table(table)
    except AnalysisException:
        raise SourceError(
            f"source.{name}.table: expected a table that Spark knows, found none named {table}. Name the catalog or "
            "database as well, such as shop.events, or set up its catalog in engine.spark.conf."
        ) from None
    rows.write.parquet(str(folder))
    files = sorted(folder.glob("*.parquet"))
    shown = re.sub(r"[^\w.]+", "_", table)
    return [str(file.rename(file.with_name(f"{shown}-{number:05}.parquet"))) for number, file in enumerate(files)]
