"""`kindred migration`, and what `kindred history` writes too: tables and a page of who moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from models.identity import STANDING
from models.migration_tables import ORDERS, Migration, migrate, places_in, segment_columns_in
from models.naming import in_languages
from pipeline.commands.rename import names_in
from pipeline.config.errors import UserError
from pipeline.config.facets import BROAD_ID, NOISE_ID, UNKNOWN_ID
from pipeline.config.params import Params
from pipeline.report.migration import as_text, page
from pipeline.report.pages.render import render_template
from pipeline.report.texts.wording import Wording, wording
from pipeline.scoring.hysteresis import AS_OF
from pipeline.stores import files, mlflow_runs, model_registry


def migration(params: Params, earlier: Path, later: Path, *, out: Path) -> str:
    """Compare two files of scores; gives in words who moved, and writes moves and a page.

    Segments are called as in the scores where there is no MLflow store; none is made.

    Raises
    ------
    UserError
        A file is no scores, or both are of one moment, or ``out`` is one of them.
    """
    require_table_name(out)
    files.require_not_read(out, (earlier, later))
    folder = params.path(params.outputs.folder)
    is_used = folder.is_dir() or out.is_relative_to(folder)  # else there is nothing in it, and it is not made
    # Or what is read may not be what the manifest tells of.
    with files.lock(folder) if is_used else nullcontext():
        return _migration(params, earlier, later, out=out)


def _migration(params: Params, earlier: Path, later: Path, *, out: Path) -> str:
    frames = [_read_scores(path) for path in (earlier, later)]
    moments = [frame.as_of[0] for frame in frames]
    if moments[0] == moments[1]:
        raise UserError(f"expected scores of two moments; both files are as of {moments[0]:%Y-%m-%d %H:%M}.")
    if moments[0] > moments[1]:
        frames.reverse()
    history, names = pd.concat(frames, ignore_index=True), {}
    if mlflow_runs.has_store(params):
        mlflow = mlflow_runs.open_store(params)
        history = with_names(history, model_registry.given_names(mlflow, params))
        names = names_in(mlflow, params, frames[1].run_id[0])
    found = migrate(history, min_group=params.naming.min_group)
    models = [frame.model_uri[0] for frame in frames]
    are_two = models[0] != models[1]
    return write(
        found,
        params,
        out=out,
        inputs={"earlier": files.file_digest(earlier), "later": files.file_digest(later)},
        run_id=frames[1].run_id[0],
        names=names,
        beware=["score both moments with one model: kindred history"] if are_two else [],
        cautions=lambda words: [words("moves.models", models=", ".join(models))] if are_two else [],
    )


def with_names(history: pd.DataFrame, given: Mapping[str, str]) -> pd.DataFrame:
    """A history whose segments have the names given by hand."""
    changes = {}
    for segment in segment_columns_in(history.columns):
        by_hand = history[f"{segment}_id"].map(given)
        changes[segment] = history[segment].where(by_hand.isna(), by_hand)
    return history.assign(**changes)


def require_table_name(out: Path) -> None:
    """Whether ``out`` names a format of tables; else an OutputError."""
    if out.suffix not in (".parquet", ".csv"):
        raise files.OutputError(f"--out {out.name}: expected a name that ends in .parquet or .csv.")


def _read_scores(path: Path) -> pd.DataFrame:
    """`places_in` its columns, model_uri and run_id of a file of scores, as texts but as_of."""
    hint = "Name two files that `kindred score` wrote."
    wanted = ["customer_id", "as_of", "segment_id", "segment", *ORDERS, "model_uri", "run_id"]
    try:
        wanted = [*places_in(_columns_of(path)), "model_uri", "run_id"]
        if path.suffix == ".csv":
            texts = pyarrow.csv.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(set(wanted) - {"as_of"}, pa.string()) | {"as_of": AS_OF},
                strings_can_be_null=True,
                null_values=[""],  # NA may be the name of a customer
            )
            table = pyarrow.csv.read_csv(path, convert_options=texts)
            table = table.set_column(0, "customer_id", files.from_spreadsheet(table["customer_id"]))
        else:
            table = pq.read_table(path, columns=wanted)
        # Who writes a file again may make numbers of ids.
        table = table.select(wanted).cast(
            pa.schema([(one, AS_OF if one == "as_of" else pa.string()) for one in wanted])
        )
    except FileNotFoundError:
        raise UserError(f"{path}: expected a file of scores; there is none. {hint}") from None
    except (pa.ArrowException, OSError, KeyError):
        table = None
    if table is None or not table.num_rows or "segment_id" not in table.column_names:
        raise UserError(f"{path}: expected scores, with the columns {', '.join(wanted)}. {hint}")
    frame: pd.DataFrame = table.to_pandas()
    if frame.as_of.nunique() != 1 or not frame.customer_id.is_unique or frame.customer_id.isna().any():
        raise UserError(f"{path}: expected each customer once, with an id, at one as_of. {hint}")
    return frame


def _columns_of(path: Path) -> list[str]:
    """Names of the columns of a table."""
    if path.suffix != ".csv":
        return list(pq.read_schema(path).names)
    with pyarrow.csv.open_csv(path) as reader:
        return list(reader.schema.names)


def write(
    found: Migration,
    params: Params,
    *,
    out: Path,
    inputs: Mapping[str, str],
    run_id: str,
    names: Mapping[str, str],
    beware: Sequence[str],
    cautions: Callable[[Wording], list[str]],
    history: pd.DataFrame | None = None,
) -> str:
    """Write tables and the page beside ``out``, the manifest last; gives in words what is in them.

    Parameters
    ----------
    out : Path
        Of the moves, or where there is a history, of that; the other names are made from it.
    names : mapping
        segment_id -> what the page calls it, where that is not as in the scores.
    beware : sequence of str
        For whoever runs the command: in English, in the terminal alone.
    cautions : callable
        What readers of the page must know too, in the language of a wording.
    """
    tables: dict[str, tuple[Path, pd.DataFrame]] = {"moves": (out, found.moves)}
    if history is not None:
        beside = {name: out.with_name(f"{out.stem}-{name}{out.suffix}") for name in found.tables}
        tables = {"history": (out, history)} | {name: (beside[name], table) for name, table in found.tables.items()}
    words, english = (wording(one, timezone=params.local_timezone) for one in (params.language, "en"))
    # Who is in a group that nobody was in at training: its name is in no summary of it.
    names = names_by_rule(params, params.language) | dict(names)
    called = {
        segment: {group: names.get(group, name) for group, name in found.groups[segment].items()}
        for segment in found.groups
        if segment not in ORDERS
    }
    pages = [
        page(groups, found.tables, one, beware=[*cautions(one), *others], min_group=params.naming.min_group)
        for groups, one, others in ((found.groups | called, words, []), (found.groups, english, beware))
    ]
    html = out.with_name(f"{out.stem}.html")
    rendered = render_template("moves.html.j2", words=words, **pages[0])
    for path, table in tables.values():
        files.write_table(path, _arrow(table))
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
    first = "History" if history is not None else "Moves"
    return f"{as_text(pages[1])}\n{first:<16}{out}\nPage            {html}"


def names_by_rule(params: Params, language: str) -> dict[str, str]:
    """segment_id -> name in a language, of the groups by rule and of the customers between the clusters."""
    stages = {STANDING + stage: getattr(one.name, language) for stage, one in params.naming.standing.items()}
    others = {NOISE_ID: "noise", BROAD_ID: "broad", STANDING + UNKNOWN_ID: "unknown"}
    return stages | {segment_id: in_languages(word)[language] for segment_id, word in others.items()}


def _arrow(frame: pd.DataFrame) -> pa.Table:
    """With moments as they are in scores; pandas would warn that they lose their zone on the way."""
    moments = frame.select_dtypes("datetimetz").columns
    table = pa.Table.from_pandas(frame.assign(**{one: None for one in moments}), preserve_index=False)
    for name in moments:
        naive = pa.array(frame[name].dt.tz_convert(None).to_numpy(), pa.timestamp("us"))
        table = table.set_column(frame.columns.get_loc(name), name, naive.cast(AS_OF))
    return table
