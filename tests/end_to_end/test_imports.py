"""From scores to a file that each tool imports by its own documented rules, with one command.

The rules were read in November 2026 at the addresses given with each.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Collection, Mapping
from email.utils import parseaddr
from pathlib import Path

import pandas as pd
import pytest

from pipeline.audiences.exports import templates
from pipeline.audiences.storage import stored_audiences
from pipeline.commands.actions.audience import AudienceOptions, audience
from pipeline.commands.score import score
from pipeline.config.params import Params
from pipeline.config.progress import SILENT

MEGABYTE = 1_000_000
EMAILS = (
    "  Person{}@Shop.EXAMPLE ",
    "o'brien{}@shop.example",
    "first.last+news{}@mail.shop.example",
    "ann{}@gëzim.example",
    "",
    "=cmd{}@shop.example",
    "not an address {}",
    "shared@shop.example",
)
"""Of invented customers, in turn. The fifth to the seventh cannot be used; the last is the same for several."""
PHONES = ("+355 67 {:07}", "00355-68-{:07}", "", "067{:07}")
Rows = list[dict[str, str]]
Contacts = Mapping[str, str | None]


def read(content: bytes) -> Rows:
    """UTF-8, commas, a header of names that occur once, and as many cells in each row."""
    header, *rows = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
    assert not content.startswith(b"\xef\xbb\xbf")
    assert len(set(header)) == len(header) and {len(row) for row in rows} == {len(header)}
    return [dict(zip(header, row, strict=True)) for row in rows]


def is_address(text: str) -> bool:
    return parseaddr(text) == ("", text) and re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text) is not None


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def klaviyo(content: bytes, emails: Collection[str], phones: Contacts) -> None:
    """https://help.klaviyo.com/hc/en-us/articles/115005078967 and .../115005078807

    CSV of at most 50 MB; the first row has names; the first column is Email, Email Address or Phone Number; each row
    has an address; none is there twice.
    """
    rows = read(content)
    assert len(content) <= 50 * MEGABYTE and next(iter(rows[0])) in ("Email", "Email Address", "Phone Number")
    assert [row["Email"] for row in rows] == list(emails) and all(map(is_address, emails))


def mailchimp(content: bytes, emails: Collection[str], phones: Contacts) -> None:
    """https://mailchimp.com/help/format-guidelines-for-your-import-file/

    A column of addresses, one in each row, without spaces, and in ASCII before the @; texts of at most 255 bytes; tags
    of at most 100 characters, between commas.
    """
    rows = read(content)
    assert [row["Email Address"] for row in rows] == list(emails)
    assert all(email.partition("@")[0].isascii() and " " not in email for email in emails)
    assert all(len(text.encode()) <= 255 for row in rows for text in row.values())
    tags = [tag for row in rows for tag in row["Tags"].split(",")]
    assert "everyone" in tags and all(tag and tag == tag.strip() and len(tag) <= 100 for tag in tags)
    assert {row["Tags"].count(",") for row in rows} <= {1, 2}


def hubspot(content: bytes, emails: Collection[str], phones: Contacts) -> None:
    """https://knowledge.hubspot.com/import-and-export/set-up-your-import-file

    CSV in UTF-8 with a header row, fewer than 1,000 columns, at most 20 MB on a free account; Email identifies a contact.
    """
    rows = read(content)
    assert len(rows[0]) < 1_000 and len(content) <= 20 * MEGABYTE
    assert [row["Email"] for row in rows] == list(emails)


def listmonk(content: bytes, emails: Collection[str], phones: Contacts) -> None:
    """internal/subimporter/importer.go of github.com/knadh/listmonk, and its upsert in queries/subscribers.sql

    Columns email, name and attributes; others are ignored. An address is parsed as RFC 5322 has it; attributes are a
    JSON object. A name would replace that of a subscriber when existing ones are overwritten, as attributes need.
    """
    rows = read(content)
    assert set(rows[0]) == {"email", "attributes"} and [row["email"] for row in rows] == list(emails)
    for row in rows:
        assert json.loads(row["attributes"])["audience"] == "everyone" and len(row["email"]) <= 1_000


def mautic(content: bytes, emails: Collection[str], phones: Contacts) -> None:
    """https://docs.mautic.org/en/contacts/import-contacts

    CSV in UTF-8; columns named like the fields (email, tags); several tags between bars.
    """
    rows = read(content)
    assert set(rows[0]) == {"email", "tags"} and [row["email"] for row in rows] == list(emails)
    assert all(row["tags"].split("|")[0] == "everyone" and "," not in row["tags"].split("|")[0] for row in rows)


def google_ads(content: bytes, emails: Collection[str], phones: Contacts) -> None:
    """https://support.google.com/google-ads/answer/7659867 and https://support.google.com/google-ads/answer/7476159

    CSV in ASCII or UTF-8; English names Email and Phone; SHA-256 in hexadecimal of an address in lower case without
    spaces, and of a phone number as E.164 has it, with its plus sign. Dots in gmail.com addresses may stay
    (https://developers.google.com/google-ads/api/docs/remarketing/audience-types/customer-match).
    """
    rows = read(content)
    assert content.isascii() and list(rows[0]) == ["Email", "Phone"]
    assert [row["Email"] for row in rows] == [digest(email) for email in emails]
    expected = [phones[email] for email in emails]
    assert [row["Phone"] for row in rows] == ["" if phone is None else digest(phone) for phone in expected]
    assert all(re.fullmatch(r"\+[1-9]\d{7,14}", phone) for phone in expected if phone is not None)


def meta_ads(content: bytes, emails: Collection[str], phones: Contacts) -> None:
    """https://www.facebook.com/business/help/2082575038703844 and
    https://developers.facebook.com/docs/marketing-api/audiences/guides/custom-audiences (hashing and normalising)

    Columns email and phone; SHA-256 in hexadecimal of an address trimmed and in lower case, and of a phone number as
    digits with the country code, without symbols and leading zeros.
    """
    rows = read(content)
    assert list(rows[0]) == ["email", "phone"]
    assert [row["email"] for row in rows] == [digest(email) for email in emails]
    expected = [phones[email] for email in emails]
    assert [row["phone"] for row in rows] == ["" if one is None else digest(one.removeprefix("+")) for one in expected]


RULES: Mapping[str, Callable[[bytes, Collection[str], Contacts], None]] = {
    rules.__name__: rules for rules in (klaviyo, mailchimp, hubspot, listmonk, mautic, google_ads, meta_ads)
}


def invented_contacts(scores: Path, folder: Path) -> pd.DataFrame:
    """customer_id, email, phone and consent of every customer, as a file, and as they are to be read."""
    ids = pd.read_parquet(scores, columns=["customer_id"]).customer_id
    contacts = pd.DataFrame(
        {
            "customer_id": ids,
            "email": [EMAILS[place % len(EMAILS)].format(place) for place in range(len(ids))],
            "phone": [PHONES[place % len(PHONES)].format(place) for place in range(len(ids))],
            "consent": "yes",
        }
    )
    contacts.to_csv(folder / "contacts.csv", index=False)
    email, phone = contacts.email.str.strip().str.lower(), contacts.phone.str.replace(r"[\s-]", "", regex=True)
    phone = phone.str.replace(r"^00", "+", regex=True)
    usable = email.map(is_address) & ~email.str.startswith("=")
    return contacts.assign(email=email.where(usable, None), phone=phone.where(phone.str.startswith("+"), None))


@pytest.fixture
def listed(params: Callable[..., Params], champion: object, tmp_path: Path) -> tuple[Params, pd.DataFrame]:
    made = params("audiences={everyone: {where: {}, holdout_share: 0.2}}", f"contacts.path={tmp_path / 'contacts.csv'}")
    scores = made.path(made.outputs.scores)
    score(made, model_uri=made.tracking.champion_uri, out=scores, progress=SILENT)
    return made, invented_contacts(scores, tmp_path)


def test_each_tool_imports_its_file_by_its_own_rules(listed: tuple[Params, pd.DataFrame]) -> None:
    made, contacts = listed
    assert RULES.keys() == templates().keys()
    for tool, rules in RULES.items():
        written = audience(made, AudienceOptions("everyone", tool=tool)).written[0]
        (kept,) = stored_audiences(made.path(made.outputs.folder), "everyone")
        table = kept.table(["customer_id", "group"])
        sent = table[table.group == "send"].merge(contacts, on="customer_id", how="left")
        reachable = sent[sent.email.notna()].drop_duplicates("email")
        phones = {row.email: row.phone if isinstance(row.phone, str) else None for row in reachable.itertuples()}
        rules(written.path.read_bytes(), [*reachable.email], phones)
        assert written.export is not None and len(reachable) > 100
        assert written.export.without_address_count == sent.email.isna().sum() > 0
        assert written.export.shared_address_count == sent.email.notna().sum() - len(reachable) > 0
        held_out = contacts[contacts.customer_id.isin(table.customer_id[table.group == "held_out"])]
        only_held_out = {email for email in held_out.email.dropna() if email not in phones}
        assert only_held_out and not any(email.encode() in written.path.read_bytes() for email in only_held_out)
