from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import ibis
import pytest

from pipeline.config.sections.audiences import ContactsTable
from pipeline.config.sections.source import IdentitiesTable, IdsParams
from pipeline.ingest.customers.contacts import Contacts, read_contacts
from pipeline.ingest.files.raw_tables import SourceError


@pytest.fixture
def con() -> Iterator[ibis.backends.duckdb.Backend]:
    connection = ibis.duckdb.connect()
    yield connection
    connection.disconnect()


def read(
    con,
    folder: Path,
    text: str,
    ids: IdsParams = IdsParams(),  # noqa: B008
    identities: IdentitiesTable | None = None,
    encoding: str = "utf-8",
    **columns: str,
) -> Contacts:
    (folder / "contacts.csv").write_text(text, encoding=encoding)
    source, as_of = SimpleNamespace(ids=ids, identities=identities), datetime(2025, 1, 1, tzinfo=UTC)
    params = SimpleNamespace(folder=folder, path=lambda name: folder / name, source=source, as_of=as_of)
    return read_contacts(con, ContactsTable(path="contacts.csv", columns=columns), params)


def test_consent_in_words_and_ids_with_leading_zeros(con, tmp_path: Path) -> None:
    contacts = read(
        con, tmp_path, "id,email,consent\n007,a@b.al,Yes\n8,,no\n9, c@d.al ,maybe\n10,e@f.al,\n", customer_id="id"
    )
    rows = con.to_pandas(contacts.table.order_by("customer_id"))
    assert rows.customer_id.tolist() == ["007", "10", "8", "9"]
    assert rows.email.fillna("").tolist() == ["a@b.al", "e@f.al", "", "c@d.al"]
    assert rows.consent.fillna("unknown").tolist() == [True, "unknown", False, "unknown"]
    assert (contacts.has_consent, contacts.unclear_count, contacts.repeated_count) == (True, 1, 0)


def test_a_customer_with_two_rows_has_the_first(con, tmp_path: Path) -> None:
    contacts = read(con, tmp_path, "customer_id,email\na,z@b.al\na,a@b.al\n")
    assert con.to_pandas(contacts.table).email.tolist() == ["a@b.al"]
    assert contacts.repeated_count == 1
    assert not contacts.has_consent


def test_contacts_of_a_persons_ids(con, tmp_path: Path) -> None:
    (tmp_path / "links.csv").write_text("customer_id,alias_id\nann,old-1\nbo,old-2\n", encoding="utf-8")
    text = "customer_id,email\nOLD-1,before@b.al\n Ann,now@b.al\nold-2,bo@b.al\n"
    identities = IdentitiesTable(path="links.csv")
    contacts = read(con, tmp_path, text, ids=IdsParams(normalise="lower"), identities=identities)
    rows = con.to_pandas(contacts.table.order_by("customer_id"))
    assert rows.customer_id.tolist() == ["ann", "bo"] and contacts.repeated_count == 1
    assert rows.email.tolist() == ["now@b.al", "bo@b.al"]


def test_a_table_without_any_address_is_refused(con, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"expected a column of email or phone.*contacts\.columns"):
        read(con, tmp_path, "customer_id,name\na,Ann\n")


def test_an_assumed_encoding_is_noted(con, tmp_path: Path) -> None:
    text = "customer_id,email,city\na,a@b.al,Köln\n"
    assert not read(con, tmp_path, text).warnings
    (warning,) = read(con, tmp_path, text, encoding="cp1252").warnings
    assert warning.startswith("contacts: contacts.csv is not in UTF-8; read as cp1252")
