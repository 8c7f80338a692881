"""Reads and checks a source on Spark: tasks do what each file needs, and the driver what the whole log decides."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from itertools import accumulate, groupby
from pathlib import Path

import ibis.expr.types as ir

from pipeline.config.params import Params
from pipeline.ingest.cluster.tasks import (
    KEY,
    RAW,
    CheckedFile,
    CheckSetting,
    LoadedFile,
    TaskSetting,
    check_file,
    count_file_ids,
    load_file,
    run_each,
)
from pipeline.ingest.columns.column_mapping import map_event_columns
from pipeline.ingest.customers.exclusions import without_excluded_rows
from pipeline.ingest.customers.known_ids import CHANGED, LEFT_OUT, LeftOut
from pipeline.ingest.duplicates import HASH, drop_repeats
from pipeline.ingest.files.digests import joined_digest
from pipeline.ingest.files.raw_tables import RawTable, SourceError, kind_of, read_files, resolve_files
from pipeline.ingest.files.text_files import Unreadable, encoding_warnings
from pipeline.ingest.findings.findings import Findings
from pipeline.ingest.findings.summary import BY_PRODUCT, events_by_product, summarise
from pipeline.ingest.orders.amounts import OF_ORDERS
from pipeline.ingest.orders.currencies import refuse_mixed_currencies
from pipeline.ingest.source import DescribedLog, Source, describe_log, require_usable, uploaded
from pipeline.ingest.sql import FILE, ROW
from pipeline.stores import files
from pipeline.stores.database import LIMIT_VARIABLE, TEMPORARY
from pipeline.stores.databases.sql import literal, quoted
from pipeline.stores.engines.duckdb import DuckDB
from pipeline.stores.engines.spark import Spark
from pipeline.stores.local.file_names import as_glob

MIN_TASK_MEMORY = 2**28
"""Bytes that a task may use at least, however many run at once."""
ONE_MACHINE = "Or set engine.kind: duckdb, which reads the log on one machine."


def read_source_on_spark(engine: Spark, params: Params, *, rejected_path: Path | None) -> Source:
    """`read_source` on a cluster, with the same rows, counts and warnings; its tables are those of ``engine``.

    Raises
    ------
    SourceError
        As `read_source`; or the source has what only one machine can read.
    """
    con, findings = engine.con, Findings()
    _refuse_queries(params)
    task = TaskSetting(_for_tasks(engine, params), engine.scratch)
    loaded = _load_files(engine, params, task)
    raw = _join_files(engine, params, loaded)
    _refuse_whole_orders(params, raw)
    described = describe_log(
        con, params, raw, findings, count_ids=lambda raw, column: _count_ids(engine, task, raw, column, loaded)
    )
    checked = _check_files(engine, task, described, loaded, has_rejects=rejected_path is not None)
    findings.left_out = _left_out(checked, described.ids.left_out)
    findings.warnings += refuse_mixed_currencies(con, described.params, described.raw)
    events, duplicate_count = _distinct_events(engine, described.params, checked)
    DuckDB(con).upload(events_by_product(events, params.as_of).to_pyarrow(), BY_PRODUCT)
    products, ids = described.products, described.ids
    summary = summarise(con, described.params, findings, described.rules, products, events, duplicate_count, ids)
    if rejected_path is not None:
        rows = _parquet(file.rejected for file in checked if file.rejected)
        files.copy_query(con, f"from {rows} order by all", rejected_path, mode=files.PRIVATE)
    require_usable(con, described, summary, rejected_path)
    customers = uploaded(engine, described.customers, "customers")
    return Source(events, uploaded(engine, products, "products"), customers, summary)


def _refuse_queries(params: Params) -> None:
    """Refuse a log that one machine would have to read as a whole."""
    table = params.source.events
    for name, value in (("query", table.query), ("sql", table.sql), ("fill_by_order", table.fill_by_order)):
        if value:
            raise SourceError(
                f"{KEY}.{name}: expected files in {KEY}.path or a table of Spark in {KEY}.table, whose rows are read "
                f"one by one, as engine.kind is spark. Apply `{name}` before, and leave it out here. {ONE_MACHINE}"
            )


def _refuse_whole_orders(params: Params, raw: RawTable) -> None:
    """Refuse columns about whole orders, whose rows may be in several files."""
    found = [name for name in OF_ORDERS if name in map_event_columns(raw, params.source.events)]
    if found:
        raise SourceError(
            f"{KEY}.columns: expected what each row is about, as engine.kind is spark and the rows of an order may "
            f"be in several files. Got {', '.join(found)}, of the whole order. Name amount, discount and rows of "
            f"returns instead. {ONE_MACHINE}"
        )


def _for_tasks(engine: Spark, params: Params) -> Params:
    """``params`` with the memory of one of the tasks that run at once in a process, and one thread."""
    context = engine.backend.session.sparkContext
    at_once = int(context.getConf().get("spark.executor.cores", str(context.defaultParallelism)))
    [limit] = engine.con.con.execute(f"select getvariable({literal(LIMIT_VARIABLE)})::double").fetchone()
    memory = f"{max(limit / at_once, MIN_TASK_MEMORY) / 1024:.0f}KiB"
    settings = params.engine.model_copy(update={"threads": 1, "memory_limit": memory})
    return params.model_copy(update={"engine": settings})


def _load_files(engine: Spark, params: Params, task: TaskSetting) -> list[LoadedFile]:
    """All files of the log, in the order of their names."""
    paths = resolve_files(params.source.events, params, key=KEY)
    loaded = run_each(engine, partial(load_file, task), paths)
    firsts = accumulate((len(file.raw.files) for file in loaded), initial=0)
    return [replace(file, first=first) for file, first in zip(loaded, firsts, strict=False)]


def _join_files(engine: Spark, params: Params, loaded: list[LoadedFile]) -> RawTable:
    """View raw_events: the rows of all files, which are read where a step needs them."""
    con, table, parts = engine.con, params.source.events, [file.raw for file in loaded]
    paths, digest = [file.path for file in loaded], joined_digest(part.digest for part in parts)
    if parts[0].is_view:
        return replace(read_files(con.con, paths, table, name=RAW, key=KEY), digest=digest)
    columns = _text_columns(loaded, kind_of(paths[0], table, key=KEY))
    firsts = f"{[file.first for file in loaded]}[file_index::bigint + 1]"
    con.con.execute(
        f"create or replace view {RAW} as select {', '.join(map(quoted, columns))}, "
        f"({FILE} + {firsts})::integer as {FILE}, {ROW} from {_parquet(file.rows for file in loaded)}"
    )
    if parts[0].has_lines:
        lines = _parquet(file.lines for file in loaded if file.lines)
        con.con.execute(
            f"create or replace table {RAW}_shifts as select * replace (file + {firsts} as file) from {lines}"
        )
    encodings: dict[str, list[str]] = {}
    for encoding, names in (item for part in parts for item in part.assumed_encodings.items()):
        encodings.setdefault(encoding, []).extend(names)
    return RawTable(
        RAW,
        dict.fromkeys(columns, "VARCHAR"),
        [path for part in parts for path in part.files],
        digest,
        [replace(row, file=row.file + file.first) for file in loaded for row in file.raw.unreadable],
        sum(part.physical_line_count or 0 for part in parts) if parts[0].has_lines else None,
        sources=paths,
        is_view=True,
        warnings=encoding_warnings(encodings, key=KEY),
        assumed_encodings=encodings,
    )


def _text_columns(loaded: list[LoadedFile], kind: str | None) -> list[str]:
    """Columns of all files; those of text with a header are the columns of the first, which others may lack."""
    columns = list(dict.fromkeys(column for file in loaded for column in file.raw.columns))
    if kind != "csv":
        forms = groupby(sorted(columns, key=str.lower), str.lower)
        if twice := [form for _, same in forms if len(form := list(same)) > 1]:
            raise SourceError(
                f"{KEY}.path: expected one name for each column in all files. Got {' and '.join(twice[0])}, which "
                f"differ only by case. Rename one. {ONE_MACHINE}"
            )
        return sorted(columns) if kind == "json" else columns
    known = {column.lower() for column in loaded[0].raw.columns}
    for file in loaded:
        others = [column for column in file.raw.columns if column.lower() not in known]
        if others:
            raise SourceError(
                f"{KEY}.path: expected the columns of {loaded[0].path.name} in all files. {file.path.name} also has "
                f"{', '.join(others)}."
            )
    return [*loaded[0].raw.columns]


def _count_ids(engine: Spark, task: TaskSetting, raw: RawTable, column: str, loaded: list[LoadedFile]) -> str:
    """SQL for the rows of each id: source_id, row_count."""
    counted = run_each(engine, partial(count_file_ids, task, _without_rows(raw), column), _with_rows(loaded, []))
    return f"select source_id, sum(row_count)::bigint as row_count from {_parquet(counted)} group by 1"


def _check_files(
    engine: Spark, task: TaskSetting, described: DescribedLog, loaded: list[LoadedFile], *, has_rejects: bool
) -> list[CheckedFile]:
    """Table broken_rows and view accepted_events, from the checks of all files."""
    con, raw = engine.con, described.raw
    tables = {}
    for name in (CHANGED, LEFT_OUT, *(["exchange_rates"] if described.params.source.rates is not None else [])):
        tables[name] = engine.scratch / f"{name}.parquet"
        files.copy_query(con, f"from {name}", tables[name], mode=files.PRIVATE)
    setting = CheckSetting(
        replace(task, params=described.params.model_copy(update={"engine": task.params.engine})),
        _without_rows(raw),
        replace(described.ids, left_out=LeftOut()),
        tables,
        has_rejects,
    )
    checked = run_each(engine, partial(check_file, setting), _with_rows(loaded, raw.unreadable))
    for kind, name, paths in (
        ("table", "broken_rows", [file.broken for file in checked]),
        ("view", "accepted_events", [file.accepted for file in checked]),
    ):
        con.con.execute(f"create or replace temp {kind} {name} as from {_parquet(paths)}")
    # Of the table customers, tasks know nothing.
    without_excluded_rows(con, described.params, con.table("accepted_events", database=TEMPORARY).limit(0))
    return checked


def _without_rows(raw: RawTable) -> RawTable:
    return replace(raw, unreadable=[])


def _with_rows(loaded: list[LoadedFile], unreadable: list[Unreadable]) -> list[LoadedFile]:
    """The files, each with its rows that could not be read."""
    firsts = [file.first for file in loaded]
    of_files: list[list[Unreadable]] = [[] for _ in loaded]
    for row in unreadable:
        of_files[bisect_right(firsts, row.file) - 1].append(row)
    return [replace(file, raw=replace(file.raw, unreadable=rows)) for file, rows in zip(loaded, of_files, strict=True)]


def _left_out(checked: list[CheckedFile], by_id: LeftOut) -> dict[str, int]:
    """Rows left out, by reason."""
    counts: dict[str, int] = {}
    for reason, count in [item for file in checked for item in file.left_out.items()]:
        counts[reason] = counts.get(reason, 0) + count
    excluded = counts.pop("excluded", 0) + by_id.excluded_row_count
    return counts | ({"excluded": excluded} if excluded else {})


def _distinct_events(engine: Spark, params: Params, checked: list[CheckedFile]) -> tuple[ir.Table, int]:
    """View ``events``, and the number of rows that repeat another one."""
    engine.read_files(*(file.accepted for file in checked)).createOrReplaceTempView("accepted_events")
    accepted = engine.table("accepted_events")
    counts = accepted.aggregate(rows=accepted.count(), distinct=accepted[HASH].nunique()).to_pyarrow().to_pylist()[0]
    events, repeated = drop_repeats(engine, params, accepted, counts["rows"] - counts["distinct"])
    return engine.view(events, "events"), repeated


def _parquet(paths: Iterable[Path]) -> str:
    """SQL for the rows of Parquet files."""
    return f"read_parquet([{', '.join(literal(as_glob(path)) for path in paths)}], union_by_name = true)"
