"""`kindred migration`, and the tables and page of moves that `kindred history` writes too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from models.identity import RULE_GROUP_PREFIX
from models.migration_tables import (
    GROUP_ORDER,
    Migration,
    segment_name_columns,
    segmentation_columns,
    summarise_migration,
)
from models.naming import in_languages
from models.segment_names import SegmentNames
from pipeline.commands.rename import names_in
from pipeline.config.errors import UserError
from pipeline.config.facets import BROAD_ID, NOISE_ID, UNKNOWN_ID
from pipeline.config.params import Params
from pipeline.report.migration import as_text, page
from pipeline.report.pages.render import render_template
from pipeline.report.texts.wording import Wording, wording
from pipeline.scoring.hysteresis import AS_OF
from pipeline.stores import files, mlflow_runs, model_registry
from pipeline.stores.writers import column_names, read_table, require_known_suffix, write_table


def migration(params: Params, earlier: Path, later: Path, *, out: Path) -> str:
    """Compare two score files; writes the moves and a page, and returns a summary as text.

    If there is no MLflow store, segments have the names in the scores. No store is created.

    Raises
    ------
    UserError
        A file does not contain scores, both have the same as_of, or ``out`` is one of them.
    """
    require_known_suffix(out, key="--out")
    files.require_not_read(out, (earlier, later))
    folder = params.path(params.outputs.folder)
    is_used = folder.is_dir() or out.is_relative_to(folder)  # otherwise the folder is not created just for the lock
    # Without the lock, another command could change the files between reading and hashing.
    with files.lock(folder) if is_used else nullcontext():
        return _migration(params, earlier, later, out=out)


def _migration(params: Params, earlier: Path, later: Path, *, out: Path) -> str:
    frames = [_read_scores(path) for path in (earlier, later)]
    dates = [frame.as_of[0] for frame in frames]
    if dates[0] == dates[1]:
        raise UserError(f"expected scores of two different dates; both files are as of {dates[0]:%Y-%m-%d %H:%M}.")
    if dates[0] > dates[1]:
        frames.reverse()
    history, names = pd.concat(frames, ignore_index=True), {}
    if mlflow_runs.has_store(params):
        store = mlflow_runs.open_store(params)
        history = with_names(history, model_registry.given_names(store))
        names = names_in(store, params, frames[1].run_id[0])
    tables = summarise_migration(history, min_group=params.naming.min_group)
    models = [frame.model_uri[0] for frame in frames]
    models_differ = models[0] != models[1]
    return write(
        tables,
        params,
        out=out,
        inputs={"earlier": files.file_digest(earlier), "later": files.file_digest(later)},
        run_id=frames[1].run_id[0],
        names=names,
        warnings=["score both dates with the same model: kindred history"] if models_differ else [],
        page_notes=lambda words: [words("moves.models", models=", ".join(models))] if models_differ else [],
    )


def with_names(history: pd.DataFrame, given: Mapping[str, str]) -> pd.DataFrame:
    """The history with manual segment names applied."""
    changes = {}
    for segment in segment_name_columns(history.columns):
        manual = history[f"{segment}_id"].map(given)
        changes[segment] = history[segment].where(manual.isna(), manual)
    return history.assign(**changes)


def _read_scores(path: Path) -> pd.DataFrame:
    """The `segmentation_columns`, model_uri and run_id of a score file, all as strings except as_of."""
    hint = "Name two files written by `kindred score`."
    wanted = ["customer_id", "as_of", "segment_id", "segment", *GROUP_ORDER, "model_uri", "run_id"]
    try:
        wanted = [*segmentation_columns(column_names(path)), "model_uri", "run_id"]
        # Other tools that rewrite the file may turn ids into numbers.
        types = {name: AS_OF if name == "as_of" else pa.string() for name in wanted}
        table = read_table(path, types)
    except FileNotFoundError:
        raise UserError(f"{path}: expected a score file, but it does not exist. {hint}") from None
    except (pa.ArrowException, OSError, KeyError):
        table = None
    if table is None or not table.num_rows or "segment_id" not in table.column_names:
        raise UserError(f"{path}: expected a score file with the columns {', '.join(wanted)}. {hint}")
    frame: pd.DataFrame = table.to_pandas()
    if frame.as_of.nunique() != 1 or not frame.customer_id.is_unique or frame.customer_id.isna().any():
        raise UserError(f"{path}: expected each customer once, with an id, and a single as_of. {hint}")
    return frame


def write(
    migration_tables: Migration,
    params: Params,
    *,
    out: Path,
    inputs: Mapping[str, str],
    run_id: str,
    names: Mapping[str, str],
    warnings: Sequence[str],
    page_notes: Callable[[Wording], list[str]],
    history: pd.DataFrame | None = None,
) -> str:
    """Write the tables and the page next to ``out``, the manifest last; returns a summary as text.

    Parameters
    ----------
    out : Path
        File of the moves or, with a history, of the history. The other file names are derived from it.
    names : mapping
        segment_id -> name on the page, if it differs from the name in the scores.
    warnings : sequence of str
        Warnings shown in the terminal only, in English.
    page_notes : callable
        Given a wording, returns notes for the page and the terminal in its language.
    """
    tables: dict[str, tuple[Path, pd.DataFrame]] = {"moves": (out, migration_tables.moves)}
    if history is not None:
        paths = {name: out.with_name(f"{out.stem}-{name}{out.suffix}") for name in migration_tables.tables}
        tables = {"history": (out, history)} | {
            name: (paths[name], table) for name, table in migration_tables.tables.items()
        }
    words = wording(params.language, timezone=params.local_timezone)
    on_page, in_terminal = _contents(migration_tables, params, names, warnings, page_notes)
    html = out.with_name(f"{out.stem}.html")
    rendered = render_template("moves.html.j2", words=words, **on_page)
    if history is not None:
        files.note_elsewhere(params.path(params.outputs.folder), out)
    for name, (path, table) in tables.items():
        write_table(path, _arrow(table), mode=params.outputs.mode_with_ids if name == "history" else None)
    files.write_text(html, rendered)
    files.write_manifest(
        out.with_name(f"{out.stem}-manifest.json"),
        run_id=run_id,
        params_digest=params.digest(),
        inputs=inputs,
        outputs={name: path for name, (path, _) in tables.items()} | {"page": html},
        versions=mlflow_runs.versions(),
        row_counts={name: len(table) for name, (_, table) in tables.items()},
    )
    label = "History" if history is not None else "Moves"
    return f"{as_text(in_terminal)}\n{label:<16}{out}\nPage            {html}"


def _contents(
    migration_tables: Migration,
    params: Params,
    names: Mapping[str, str],
    warnings: Sequence[str],
    page_notes: Callable[[Wording], list[str]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the page shows, in its language, and what the terminal shows, in English."""
    words, english = (wording(language, timezone=params.local_timezone) for language in (params.language, "en"))
    # Groups that were empty at training have no name in its summary.
    names = names_by_rule(params, params.language) | dict(names)
    page_groups = {
        segment: {group: names.get(group, name) for group, name in groups.items()}
        for segment, groups in migration_tables.groups.items()
        if segment not in GROUP_ORDER
    }
    on_page, in_terminal = (
        page(
            groups,
            migration_tables.tables,
            texts,
            warnings=[*page_notes(texts), *more_warnings],
            min_group=params.naming.min_group,
        )
        for groups, texts, more_warnings in (
            (migration_tables.groups | page_groups, words, []),
            (migration_tables.groups, english, warnings),
        )
    )
    return on_page, in_terminal


def names_by_rule(params: Params, language: str) -> dict[str, str]:
    """segment_id -> name in a language, for rule-based groups and for customers between clusters."""
    stages = {RULE_GROUP_PREFIX + stage: group.name.model_dump() for stage, group in params.naming.standing.items()}
    others = {NOISE_ID: "noise", BROAD_ID: "broad", RULE_GROUP_PREFIX + UNKNOWN_ID: "unknown"}
    names = stages | {segment_id: in_languages(word) for segment_id, word in others.items()}
    return {segment_id: SegmentNames(by_figures).shown(language) for segment_id, by_figures in names.items()}


def _arrow(frame: pd.DataFrame) -> pa.Table:
    """An Arrow table with times stored as in the scores; pandas would warn about the lost time zone."""
    time_columns = frame.select_dtypes("datetimetz").columns
    table = pa.Table.from_pandas(frame.assign(**{name: None for name in time_columns}), preserve_index=False)
    for name in time_columns:
        naive = pa.array(frame[name].dt.tz_convert(None).to_numpy(), pa.timestamp("us"))
        table = table.set_column(frame.columns.get_loc(name), name, naive.cast(AS_OF))
    return table
