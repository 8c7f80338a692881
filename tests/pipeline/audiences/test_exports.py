from __future__ import annotations

import hashlib
import json

import pandas as pd
import pytest

from pipeline.audiences.exports import export, templates
from pipeline.audiences.selection import AudienceError

AUDIENCE = pd.DataFrame(
    {
        "customer_id": ["a", "b", "c", "d", "e"],
        "group": ["send", "send", "held_out", "send", "send"],
        "segment": ["VIP", "VIP", "VIP", "Lapsed", None],
        "interest_segment": ["Cats", None, "Dogs", "Dogs", "Cats"],
    }
)
CONTACTS = pd.DataFrame(
    {
        "customer_id": ["a", "b", "c", "d", "f"],
        "email": [" Ann@Shop.AL ", "ann@shop.al", "c@shop.al", "not an address", "f@shop.al"],
        "phone": ["+355 67 123-4567", "0671234567", None, "00380441234567", None],
    }
)


def test_the_control_group_and_customers_without_an_address_are_left_out() -> None:
    made = export(AUDIENCE, CONTACTS, name="spring", tool="klaviyo")
    assert made.table.to_dict("records") == [
        {"Email": "ann@shop.al", "Kindred Segment": "VIP", "Kindred Interest": "Cats", "Kindred Audience": "spring"}
    ]
    assert made.without_address_count == 2
    assert made.shared_address_count == 1


def test_hashes_of_normalised_addresses() -> None:
    email, phone = (hashlib.sha256(text).hexdigest() for text in (b"ann@shop.al", b"+355671234567"))
    google = export(AUDIENCE, CONTACTS, name="spring", tool="google_ads").table
    assert google.to_dict("records") == [{"Email": email, "Phone": phone}]
    meta = export(AUDIENCE, CONTACTS, name="spring", tool="meta_ads").table
    assert meta.phone.tolist() == [hashlib.sha256(b"355671234567").hexdigest()]


def test_tags_and_attributes() -> None:
    assert export(AUDIENCE, CONTACTS, name="spring", tool="mailchimp").table.Tags.tolist() == ["spring,VIP,Cats"]
    assert export(AUDIENCE, CONTACTS, name="spring", tool="mautic").table.tags.tolist() == ["spring|VIP|Cats"]
    attributes = export(AUDIENCE, CONTACTS, name="spring", tool="listmonk").table.attributes[0]
    assert json.loads(attributes) == {"audience": "spring", "segment": "VIP", "interest_segment": "Cats"}


def test_a_name_with_the_separator_is_one_tag() -> None:
    audience = AUDIENCE.assign(segment="Never bought, long silent")
    tags = export(audience, CONTACTS, name="spring", tool="mailchimp").table.Tags.tolist()
    assert tags == ["spring,Never bought long silent,Cats"]


@pytest.mark.parametrize("tool", templates())
def test_every_template_makes_texts(tool: str) -> None:
    made = export(AUDIENCE, CONTACTS, name="spring", tool=tool)
    assert list(made.table.columns) == list(templates()[tool].columns)
    assert len(made.table) == 1
    assert made.table.map(lambda value: isinstance(value, str)).to_numpy().all()


def test_an_unknown_tool_is_refused() -> None:
    with pytest.raises(AudienceError, match="expected one of klaviyo, mailchimp"):
        export(AUDIENCE, CONTACTS, name="spring", tool="mailchimpp")
