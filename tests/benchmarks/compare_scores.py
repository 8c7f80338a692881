"""Compares two score files column by column, bit by bit; `make demo-spark` prints it for the scores of two engines.

python tests/benchmarks/compare_scores.py SCORES OTHER_SCORES
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Comparison:
    """How two score files differ.

    Attributes
    ----------
    customer_count : int
        Customers in both files; `only_one_count` are in one of them only.
    differing : dict of str to int
        Column -> customers in both files whose values differ; for all columns.
    row_count : int
        Customers with a difference in any column.
    """

    customer_count: int
    only_one_count: int
    differing: dict[str, int]
    row_count: int

    def as_text(self) -> str:
        """The counts, with a line for each column that differs."""
        lines = [
            f"Compared  {len(self.differing)} columns of {self.customer_count:,} customers; "
            f"{self.only_one_count:,} customers are in one file only",
            f"Differing {self.row_count:,} rows",
        ]
        return "\n".join([*lines, *(f"  {name}: {count:,} rows" for name, count in self.differing.items() if count)])


def compare(first: pa.Table, second: pa.Table) -> Comparison:
    """Compare two tables of scores with the same columns; nulls equal nulls.

    Raises
    ------
    ValueError
        Their columns differ.
    """
    if first.column_names != second.column_names:
        raise ValueError(f"expected the same columns, got {sorted({*first.column_names} ^ {*second.column_names})}")
    shared, other = (_of_shared(table, others) for table, others in ((first, second), (second, first)))
    is_other = {name: _differs(shared[name], other[name]) for name in shared.column_names}
    any_other = [any(flags) for flags in zip(*is_other.values(), strict=True)]
    return Comparison(
        customer_count=shared.num_rows,
        only_one_count=first.num_rows + second.num_rows - 2 * shared.num_rows,
        differing={name: sum(flags) for name, flags in is_other.items()},
        row_count=sum(any_other),
    )


def _of_shared(table: pa.Table, others: pa.Table) -> pa.Table:
    known = pc.is_in(table["customer_id"], value_set=others["customer_id"].combine_chunks())
    return table.filter(known).sort_by("customer_id")


def _differs(first: pa.ChunkedArray, second: pa.ChunkedArray) -> Sequence[bool]:
    return [one != other for one, other in zip(first.to_pylist(), second.to_pylist(), strict=True)]


if __name__ == "__main__":
    print(compare(*(pq.read_table(Path(path)) for path in sys.argv[1:3])).as_text())
