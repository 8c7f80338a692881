"""Canaries in the ids, addresses, orders, searches and settings of a shop, and where they must not be found."""

from __future__ import annotations

import contextlib
import gzip
import stat
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
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
ID, MAIL, ORDER, QUERY = PERSONAL
LISTS = {
    **dict.fromkeys(("scores.parquet", "earlier.parquet", "history.parquet"), (ID,)),
    **dict.fromkeys(("audiences/*/*.parquet", "changes/*.parquet", "list.csv", "unusual_customers.csv"), (ID,)),
    **dict.fromkeys(("audiences/*.csv", "*-klaviyo.csv"), (ID, MAIL)),
    "*rejected.parquet": (ID, ORDER, QUERY),
    "state/events-*.parquet": (ID, ORDER, QUERY),
    "state/measures-*.parquet": (ID,),
}
"""The only files that hold customers, each readable by its owner alone -> what belongs there."""
LEFTOVERS = (".part-*", ".kindred-*", ".new-*", ".old-*")
"""Files and folders of a command that works, or was killed: they may hold what any of `LISTS` may."""
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
    """Files below a folder, but those of the shop, with a secret, or with canaries of customers where none belong."""
    return [
        f"{canary} in {path.relative_to(work)}"
        for path in sorted(path for path in work.rglob("*") if path.is_file())
        if path.relative_to(work).parts[0] != "shop"
        for canary in holds(path, SECRET, *(each for each in personal if not each.startswith(_belonging(path, work))))
    ]


def _belonging(path: Path, work: Path) -> tuple[str, ...]:
    """What may be in a file: nothing of customers if others can read it, or if it is none of `LISTS`."""
    place = path.relative_to(work)
    folders = path.parents[: len(place.parts) - 1]
    if path.stat().st_mode & READABLE and all(folder.stat().st_mode & ENTERED for folder in folders):
        return ()
    if any(fnmatch(part, pattern) for part in place.parts for pattern in LEFTOVERS):
        return PERSONAL
    return tuple(canary for pattern, canaries in LISTS.items() if place.match(pattern) for canary in canaries)


def spoken(log: Path, command: str) -> list[str]:
    """What a command printed with canaries; the answer about one customer is for whoever asked for it."""
    errors, answer = Path(f"{log}.stderr"), Path(f"{log}.stdout")
    of_one = command in ("explain", "forget")
    found = {path: holds(path, SECRET, *(() if of_one and path == answer else PERSONAL)) for path in (errors, answer)}
    return [f"{canary} printed to {path.suffix[1:]}" for path, canaries in found.items() for canary in canaries]


def holds(path: Path, *canaries: str) -> list[str]:
    """Those of the canaries that a file holds, also in packed columns and archives, and in capitals or without."""
    parts = [part.lower() for part in contents(path)]
    lowered = {canary: canary.lower() for canary in canaries}  # as addresses and searches are
    forms = {canary: (text.encode(), text.encode("utf-32-le")) for canary, text in lowered.items()}  # NumPy's UTF-32
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
