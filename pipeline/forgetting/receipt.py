"""The receipt of a forgetting: what was removed, and what nobody can be removed from. It names no customer."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config.params import Params
from pipeline.forgetting.tables import HeldRows, unreached_files
from pipeline.stores import files
from pipeline.stores.forgotten import ForgottenList, forgotten_folder
from pipeline.stores.model_rows import ModelRows

NOT_REMOVED = (
    "Models: centres, scaling, weights, cut points and meanings of queries are sums over all customers. A training "
    "from now on leaves the forgotten out.",
    "MLflow: metrics, figures and reports of earlier trainings are aggregates; the figure `map` shows customers as "
    "points without ids.",
    "Reports and counts of audiences that were written before.",
    "Files for other tools that hold addresses without ids, files and tables written or copied elsewhere, backups of "
    "databases, and lists that tools have imported: delete the customer there.",
    "The log and the contacts themselves: Kindred only reads them.",
)
IN_MODELS = (
    "These rows are profiles as points, without ids. They are left in: nothing says whose row is whose, and a model in "
    "use must not change unnoticed. Train again, promote the new model, and delete these versions."
)
FILES, REMOVED, UNREACHED = "files", "removed_row_counts", "unreached_files"
TABLES = "tables of outputs.tables"


@dataclass(frozen=True)
class Receipt:
    """A receipt, and the file it is written to while the forgetting runs.

    Attributes
    ----------
    content : dict
        as_of, customer_count, unknown_count, removed_row_counts (place -> rows), files (that held rows; relative to the
        outputs folder), unreached_files (that nobody was removed from), models_with_rows_of_customers, and not_removed.
    """

    unfinished: Path
    content: dict[str, Any]

    @property
    def removed(self) -> dict[str, int]:
        """Place -> rows."""
        counts: dict[str, int] = self.content[REMOVED]
        return counts

    def write(self) -> None:
        """Write it as unfinished, before anything is removed."""
        with files.replacing(self.unfinished, mode=files.PRIVATE) as temporary:
            text = json.dumps(self.content, ensure_ascii=False, indent=2, sort_keys=True)
            temporary.write_text(text + "\n", encoding="utf-8")

    def finish(self) -> Path:
        """Give it its number."""
        folder = self.unfinished.parent
        last = max((int(path.stem.removeprefix("receipt-")) for path in folder.glob("receipt-*.json")), default=0)
        path = folder / f"receipt-{last + 1:04}.json"
        self.unfinished.replace(path)
        return path


def make_receipt(
    params: Params,
    listed: ForgottenList,
    customer_ids: frozenset[str],
    held: Sequence[HeldRows],
    models: Sequence[ModelRows],
    *,
    table_row_count: int,
    unknown_count: int,
) -> Receipt:
    """The receipt for what was found; of a forgetting that was interrupted, what its first attempt had found."""
    name = listed.hash_of("\n".join(sorted(customer_ids))).hex()
    unfinished = forgotten_folder(params) / f".unfinished-{name[:16]}.json"
    if unfinished.exists():
        return Receipt(unfinished, json.loads(unfinished.read_text(encoding="utf-8")))
    removed: dict[str, int] = {}
    for file in held:
        removed[file.place] = removed.get(file.place, 0) + file.row_count
    if table_row_count:
        removed[TABLES] = table_row_count
    content = {
        "as_of": params.as_of.isoformat(),
        "customer_count": len(customer_ids),
        "unknown_count": unknown_count,
        REMOVED: removed,
        FILES: [_relative(file.path, params) for file in held],
        UNREACHED: [str(path) for path in unreached_files(params)],
        "models_with_rows_of_customers": [asdict(model) for model in models],
        "not_removed": [*([IN_MODELS] if models else []), *NOT_REMOVED],
    }
    return Receipt(unfinished, content)


def _relative(path: Path, params: Params) -> str:
    return os.path.relpath(path, params.path(params.outputs.folder))
