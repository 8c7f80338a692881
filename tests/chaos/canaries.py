"""Canaries in the ids, addresses, orders, searches and settings of a shop, and where they must not be found."""

from __future__ import annotations

import contextlib
import gzip
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SECRET = "zqSecret7"
PERSONAL = ("zqId", "zqMail", "zqOrder", "zqquery")
"""Parts of customer ids, mail addresses, order ids and the searches of one customer."""
SETTINGS = (
    f"engine.allowed_folders=[/nowhere/sig={SECRET}]",
    f'source.category_aliases={{Nothing: "https://ann:{SECRET}@host/?sig={SECRET}"}}',
    f"source.products.sheet=pass={SECRET}",
    "contacts={path: shop/customers.parquet}",
)
PUBLISHED = ("report.html", "segments.json", "segments.parquet", "summary.json", "mlflow.db")
"""Files without canaries of customers, whoever can read them, as are those of MLflow's artifacts."""
READABLE, ENTERED = stat.S_IRGRP | stat.S_IROTH, stat.S_IXGRP | stat.S_IXOTH
"""Modes of what others can read, and enter."""


def plant(shop: Path) -> None:
    """Put canaries into a simulated shop."""
    for path in (shop / "events").glob("*.parquet"):
        table = _with_marked_ids(pq.read_table(path))
        order = pc.binary_join_element_wise("zqOrder", table["order_id"], "")
        is_search = pc.and_(pc.is_valid(table["query"]), pc.match_substring(table["customer_id"], "7"))
        own = pc.binary_join_element_wise("zqquery", table["customer_id"], "")
        columns = {"order_id": order, "query": pc.if_else(is_search, own, table["query"])}
        for name, values in columns.items():
            table = table.set_column(table.column_names.index(name), name, values)
        pq.write_table(table, path)
    customers = _with_marked_ids(pq.read_table(shop / "customers.parquet"))
    mails = pc.binary_join_element_wise("zqMail", customers["customer_id"], "@shop.example", "")
    customers = customers.append_column("email", mails)
    pq.write_table(customers.append_column("consent", pa.array(["yes"] * len(customers))), shop / "customers.parquet")


def _with_marked_ids(table: pa.Table) -> pa.Table:
    marked = pc.binary_join_element_wise("zqId", table["customer_id"], "")
    return table.set_column(table.column_names.index("customer_id"), "customer_id", marked)


def leaks(work: Path, personal: tuple[str, ...] = PERSONAL) -> list[str]:
    """Files below a folder with a secret, or with canaries of customers that others can read; not of the shop.

    Published files are searched for customers whatever their mode.
    """
    return [
        f"{canary} in {path.relative_to(work)}"
        for path in sorted(path for path in work.rglob("*") if path.is_file())
        if path.relative_to(work).parts[0] != "shop"
        for canary in holds(path, SECRET, *(personal if _is_for_others(path, work) else ()))
    ]


def _is_for_others(path: Path, work: Path) -> bool:
    """Whether others can read a file, or it is published; they can read no file of a folder that they cannot enter."""
    if path.name in PUBLISHED or "mlartifacts" in path.relative_to(work).parts:
        return True
    folders = path.parents[: len(path.relative_to(work).parts) - 1]
    return bool(path.stat().st_mode & READABLE) and all(folder.stat().st_mode & ENTERED for folder in folders)


def spoken(log: Path, command: str) -> list[str]:
    """What a command printed with canaries; the answer about one customer is for whoever asked for it."""
    errors, answer = Path(f"{log}.stderr"), Path(f"{log}.stdout")
    of_one = command in ("explain", "forget")
    found = {path: holds(path, SECRET, *(() if of_one and path == answer else PERSONAL)) for path in (errors, answer)}
    return [f"{canary} printed to {path.suffix[1:]}" for path, canaries in found.items() for canary in canaries]


def holds(path: Path, *canaries: str) -> list[str]:
    """Those of the canaries that a file holds, also in packed columns and archives."""
    parts = [*contents(path)]
    forms = {canary: (canary.encode(), canary.encode("utf-32-le")) for canary in canaries}  # NumPy writes UTF-32
    return [canary for canary, texts in forms.items() if any(text in part for part in parts for text in texts)]


def contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and those that are packed in it."""
    whole = path.read_bytes()
    yield whole
    with contextlib.suppress(pa.ArrowInvalid, EOFError):  # of what a killed command left
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            packed = [name for name in table.column_names if not pa.types.is_primitive(table.schema.field(name).type)]
            yield str(table.select(packed).to_pydict()).encode() + str(table.schema.metadata).encode()
        elif path.suffix == ".gz":
            yield gzip.decompress(whole)
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield archive.read(name)
