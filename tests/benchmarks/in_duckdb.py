"""Kindred's profile in hand-written DuckDB SQL: in_duckdb.sql with the interest columns filled in."""

from __future__ import annotations

from pathlib import Path

import duckdb
from tree import columns_of, levels_of, parent

KAPPA = 8.0


def profiles(folder: Path) -> duckdb.DuckDBPyRelation:
    """One row per customer of the shop in ``folder``."""
    con = duckdb.connect(str(folder / "hand.duckdb"))
    con.execute(f"set memory_limit = '8GB'; set temp_directory = '{folder}/spill'")
    con.execute("set preserve_insertion_order = false; set TimeZone = 'UTC'")
    con.execute(statements(con, folder))
    return con.table("profiles")


EVIDENCE = """
    select category_path, sum(case event_type when 'view' then 1.0 when 'favourite' then 2.0 when 'cart' then 2.0
                                              when 'purchase' then 3.0 when 'email_click' then 0.5 else 0.0 end
                              * exp((epoch(occurred_at) - epoch(timestamp '2025-11-01')) * (ln(2) / 86400.0 / 45.0)))
    from read_parquet('{folder}/events/*.parquet') join '{folder}/products.parquet' using (product_id)
    where customer_id is not null and trim(customer_id) <> '' and coalesce(unit_price, 0) >= 0
      and coalesce(discount, 0) >= 0 and coalesce(quantity, 1) >= 0 and category_path is not null
      and occurred_at >= timestamptz '2024-11-01' and occurred_at < timestamptz '2025-11-01' group by all"""


def statements(con: duckdb.DuckDBPyConnection, folder: Path) -> str:
    """The SQL for the categories of this shop."""
    column_of = columns_of(dict(con.execute(EVIDENCE.format(folder=folder)).fetchall()))
    names = sorted(set(column_of.values()))
    quoted = {path: path.replace("'", "''") for path in column_of}
    columns = ", ".join(f"('{quoted[path]}', {names.index(name)})" for path, name in column_of.items())
    sums: dict[str, str] = {}  # columns of a category -> the SQL variable with the shop's mix of them
    # For each parent category: its share per unit of evidence below it.
    worth, mix_above, table = {"": f"1.0 / (evidence + {KAPPA})"}, {"": "1.0"}, "totals"
    levels = levels_of(names)
    for level, nodes in enumerate(levels, start=1):
        below: dict[str, list[int]] = {}
        for column, node in enumerate(nodes):
            below.setdefault(node, []).append(column)
        prefix = "interest: " if level == len(levels) else f"level {level}: "
        listed = {node: ", ".join(map(str, inside)) for node, inside in below.items()}
        node_mix = {node: f"getvariable('{sums.setdefault(one, f'mix_{len(sums)}')}')" for node, one in listed.items()}
        evidence = {node: " + ".join(f'"{column}"' for column in inside) for node, inside in below.items()}
        shares = [
            f"({worth[parent(node, level)]}) * ({evidence[node]} + {KAPPA} * {node_mix[node]} / "
            f"{mix_above[parent(node, level)]})"
            + ("" if level == len(levels) else f" / ({evidence[node]} + {KAPPA})")
            + f' as "{prefix}{node}"'
            for node in below
        ]
        kept = "customer_id, evidence" if level == len(levels) else "*"
        table = f"(select {kept}, {', '.join(shares)} from {table})"
        worth, mix_above = {node: f'"{prefix}{node}"' for node in below}, node_mix
    text = (Path(__file__).parent / "in_duckdb.sql").read_text()
    variables = "\n".join(
        f"set variable {name} = (select coalesce(sum(share), 0) from mix where col in ({one}));"
        for one, name in sums.items()
    )
    return text.format(folder=folder, columns=columns, variables=variables, interests=table)
