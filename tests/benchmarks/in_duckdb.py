"""Kindred's profile as one would write it by hand for DuckDB: in_duckdb.sql, with the columns of interest filled in."""

from __future__ import annotations

from pathlib import Path

import duckdb

KAPPA = 8.0


def profiles(folder: Path) -> duckdb.DuckDBPyRelation:
    """One row per customer of the shop in ``folder``."""
    con = duckdb.connect(str(folder / "hand.duckdb"))
    con.execute(f"set memory_limit = '8GB'; set temp_directory = '{folder}/spill'")
    con.execute("set preserve_insertion_order = false; set TimeZone = 'UTC'")
    con.execute(statements(folder))
    return con.table("profiles")


def statements(folder: Path) -> str:
    """The SQL for the categories of that shop."""
    paths = duckdb.sql(f"select distinct category_path from '{folder}/products.parquet'").fetchall()
    categories = sorted({tuple(path.split(" > ")[:2]) for (path,) in paths})
    columns: dict[str, list[int]] = {}
    for column, (upper, _) in enumerate(categories):
        columns.setdefault(upper, []).append(column)
    mix = "(select sum(share) from mix where col in ({}))"
    uppers, shares = [], []
    for upper, below in columns.items():
        listed = ", ".join(map(str, below))
        evidence = " + ".join(f'"{column}"' for column in below)
        uppers.append(f'({evidence} + {KAPPA} * {mix.format(listed)}) / (evidence + {KAPPA}) as "{upper}"')
        for column in below:
            base = f'"{upper}" * {mix.format(column)} / {mix.format(listed)}'
            name = " > ".join(categories[column])
            shares.append(f'("{column}" + {KAPPA} * {base}) / (evidence + {KAPPA}) as "interest: {name}"')
    text = (Path(__file__).parent / "in_duckdb.sql").read_text()
    return text.format(folder=folder, uppers=", ".join(uppers), shares=",\n  ".join(shares))
