"""The list of forgotten customers: keyed hashes of their ids, so that no reading of the log lets them in again.

It lies in the folder `forgotten` of the outputs folder, next to its key. Both can be read by their owner only: somebody
who has both can test whether a known id is on the list.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.params import Params
from pipeline.stores import files

FOLDER, KEY, LIST = "forgotten", ".key", "customers.txt"


@dataclass(frozen=True)
class ForgottenList:
    """Keyed hashes (HMAC-SHA256, RFC 2104) of the ids of forgotten customers."""

    key: bytes
    hashes: frozenset[bytes]

    def hash_of(self, customer_id: str) -> bytes:
        """The keyed hash of an id."""
        return hmac.digest(self.key, customer_id.encode(), "sha256")

    def holds(self, customer_id: str) -> bool:
        """Whether the customer is forgotten."""
        return self.hash_of(customer_id) in self.hashes

    def with_customers(self, customer_ids: Iterable[str]) -> ForgottenList:
        """The list with more customers."""
        return ForgottenList(self.key, self.hashes | {self.hash_of(customer_id) for customer_id in customer_ids})


def forgotten_folder(params: Params) -> Path:
    """The folder of the list, its key and the receipts."""
    return params.path(params.outputs.folder) / FOLDER


def read_list(params: Params) -> ForgottenList | None:
    """The list; None if nobody was forgotten yet.

    Raises
    ------
    OutputError
        The list is there, but its key is missing: without it, forgotten customers would come back.
    """
    folder = forgotten_folder(params)
    if not (folder / LIST).exists():
        return None
    if not (folder / KEY).exists():
        raise files.OutputError(
            f"{folder / KEY}: expected the key of the list of forgotten customers, found none. Without it they would "
            "come back. Restore the file from a backup."
        )
    key = bytes.fromhex((folder / KEY).read_text(encoding="utf-8").strip())
    return ForgottenList(key, frozenset(map(bytes.fromhex, (folder / LIST).read_text(encoding="utf-8").split())))


def new_list(params: Params) -> ForgottenList:
    """An empty list. Its key is the one in the folder, which is created if missing."""
    return ForgottenList(bytes.fromhex(files.secret(forgotten_folder(params) / KEY)), frozenset())


def write_list(params: Params, forgotten: ForgottenList) -> None:
    """Replace the list; its key stays."""
    text = "".join(f"{each.hex()}\n" for each in sorted(forgotten.hashes))
    files.write_text(forgotten_folder(params) / LIST, text, mode=files.PRIVATE)
