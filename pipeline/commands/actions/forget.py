"""`kindred forget`: removes customers from everything Kindred keeps, and keeps later readings from seeing them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.forgetting.receipt import FILES, UNREACHED, Receipt, make_receipt
from pipeline.forgetting.state_rows import delete_leftovers, forget_in_state
from pipeline.forgetting.tables import (
    REJECTED,
    STATE,
    WORKBOOKS,
    Forgotten,
    HeldRows,
    find_rows,
    row_count,
    write_without,
)
from pipeline.ingest.customers.identities import person_ids, resolve_ids
from pipeline.report.next_steps import command
from pipeline.report.terminal import align_columns, counted
from pipeline.scoring import state
from pipeline.stores import files, mlflow_runs
from pipeline.stores.databases.tables import target_tables
from pipeline.stores.forgotten import new_list, read_list, write_list
from pipeline.stores.local.file_names import PARTS, parquet_files, rejected_file
from pipeline.stores.model_rows import ModelRows, models_with_rows
from pipeline.stores.workspace import Workspace, workspace

SHOWN_POSITIONS = 5


def forget(
    params: Params, customer_ids: Sequence[str], *, add_unknown: bool = False, progress: Callable[[str], None]
) -> str:
    """Remove customers from all files below the outputs folder, the scores and tables, and put them on the list.

    What is to be removed is found first, and nothing is changed if that fails. The list comes before the files, so no
    command that runs after a crash sees the customers; the same command again removes the rest.

    Parameters
    ----------
    customer_ids : sequence of str
        As in the log, or as `source.ids` and `source.identities` make them equal to those.
    add_unknown : bool
        Also put ids on the list that no file holds. Otherwise they are refused, as a mistyped id would forget nobody.

    Raises
    ------
    UserError
        No id is given, an id is unknown, a file is damaged, or the tables cannot be reached. Nothing was changed.
    """
    if not any(customer_ids):
        raise UserError("kindred forget: expected at least one customer id, or --file with one id per line.")
    with workspace(params) as session:
        persons = resolve_ids(session.con, params, customer_ids)
        ids = frozenset(persons.values())
        all_ids = person_ids(session.con, ids) | persons.keys()
        customers = Forgotten(all_ids, ignores_case=params.source.ids.normalise in ("lower", "email"))
        _delete_leftovers(session.folder, params.scores_path)
        progress("looking for the customers")
        held = find_rows(params, customers)
        target = target_tables(params)
        table_rows = target.count_rows(all_ids) if target is not None else 0
        listed = read_list(params) or new_list(params)
        seen = {each for file in held if file.place != REJECTED for each in file.ids}
        known = set(resolve_ids(session.con, params, seen).values())
        unknown = {each for each in ids if each not in known and not listed.holds(each)}
        if unknown and not add_unknown:
            raise _unknown_ids(customer_ids, {given for given, person in persons.items() if person in unknown})
        models = models_with_rows(session.store) if mlflow_runs.has_store(params) else []
        receipt = make_receipt(
            params, listed, ids, held, models, table_row_count=table_rows, unknown_count=len(unknown)
        )
        receipt.write()
        write_list(params, listed.with_customers(all_ids))
        progress("removing")
        if target is not None:
            target.delete_rows(all_ids)
        _remove(session, customers, held, receipt)
        path = receipt.finish()
    return _as_text(params, receipt, models, path)


def _delete_leftovers(folder: Path, scores: Path) -> None:
    """Delete what killed commands left in the outputs folder, and in and next to the scores: it may hold anybody."""
    for leftover in [*folder.rglob(f"{files.TEMPORARY}*"), *scores.glob(f"{files.TEMPORARY}*-{PARTS}")]:
        files.delete(leftover)
    for path in (scores, rejected_file(scores)):
        files.delete_leftovers(path)
    delete_leftovers(folder / state.FOLDER)


def _unknown_ids(customer_ids: Sequence[str], unknown: set[str]) -> UserError:
    positions = [str(number) for number, each in enumerate(customer_ids, 1) if each in unknown]
    more = ", ..." if len(positions) > SHOWN_POSITIONS else ""
    return UserError(
        f"expected ids of customers that Kindred's files hold; {len(unknown)} of {len(set(customer_ids))} are unknown "
        f"(number {', '.join(positions[:SHOWN_POSITIONS])}{more}). Nothing was changed. Write ids exactly as in the "
        "log, or add --add-unknown to keep them out of later readings."
    )


def _remove(session: Workspace, customers: Forgotten, held: Sequence[HeldRows], receipt: Receipt) -> None:
    """Remove the rows; every file is replaced whole, and none if one cannot be written."""
    tables = [file.path for file in held if file.place != WORKBOOKS and not file.place.startswith(STATE)]
    with ExitStack() as written:
        for path in tables:
            temporary = written.enter_context(files.replacing(path, mode=path.stat().st_mode & 0o777))
            write_without(path, customers, temporary)
    for file in held:
        if file.place == WORKBOOKS:
            file.path.unlink()
    if any(file.place.startswith(STATE) for file in held):
        forget_in_state(session, customers)
    # Also files that a first attempt replaced before it was interrupted.
    changed = {session.folder / name for name in receipt.content[FILES]} | set(tables)
    changed = {path for path in changed if path.is_file() and path.parent.name != state.FOLDER}
    scores = session.params.scores_path
    _update_manifests({scores if path in parquet_files(scores.resolve()) else path for path in changed})


def _update_manifests(changed: Iterable[Path]) -> None:
    """Give the manifests next to changed tables the tables' digests and row counts."""
    for path in sorted(changed):
        for manifest in sorted(path.parent.glob("*.json")):
            content = json.loads(manifest.read_text(encoding="utf-8"))
            if isinstance(content, dict) and _is_updated(content, path, is_own=manifest.stem == path.stem):
                files.write_json(manifest, content)


def _is_updated(content: dict[str, Any], path: Path, *, is_own: bool) -> bool:
    """Whether a manifest lists the file, and now has its digest."""
    if is_own and "sha256" in content:
        content["sha256"] = files.file_digest(path)
        return True
    outputs, counts = content.get("outputs", {}), content.get("row_counts", {})
    names = [name for name, entry in outputs.items() if entry["file"] == path.name]
    for name in names:
        outputs[name]["sha256"] = files.file_digest(path)
        if name in counts:
            counts[name] = row_count(path)
    return bool(names)


def _as_text(params: Params, receipt: Receipt, models: Sequence[ModelRows], path: Path) -> str:
    rows = [[place, f"{count:,}"] for place, count in sorted(receipt.removed.items())]
    lines = [
        f"Forgotten {counted(int(receipt.content['customer_count']), 'customer')}; later readings leave them out",
        *align_columns([["Removed from", "Rows"], *rows], right={1}),
    ]
    if models:
        listed = "; ".join(
            f"version {model.version}{''.join(f' (@{alias})' for alias in model.aliases)}: "
            + ", ".join(f"{count:,} rows in {facet}" for facet, count in model.facets.items())
            for model in models
        )
        lines += [f"Models    hold rows of customers without ids: {listed}. {receipt.content['not_removed'][0]}"]
    if unreached := receipt.content.get(UNREACHED):
        lines.append(f"Unchanged {'; '.join(unreached)}: they may hold the customers; delete them there")
    lines += [
        f"Receipt   {path}",
        f"Next      {command(params, 'train')}    # a model without them",
    ]
    return "\n".join(lines)
