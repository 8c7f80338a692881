"""Logs with troubles of ids that people reported, in ../shared/cases next to the project; skipped if they are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.config.load import load_params
from pipeline.ingest.source import read_source
from pipeline.stores.database import connect
from tests.conftest import PARAMS

CASES = Path(__file__).parents[4] / "shared" / "cases"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not CASES.is_dir(), reason="expected the cases in shared/cases/ next to the project"),
]


def read(case: str, folder: Path, *overrides: str, file: str = "params.yaml") -> tuple[Any, pd.DataFrame]:
    """The summary and the events of a case, whose params file describes only the source."""
    described = folder / f"{case}.yaml"
    described.write_text(f"base: {PARAMS}\n{(CASES / case / file).read_text(encoding='utf-8')}", encoding="utf-8")
    params = load_params(described, [f"outputs.folder={folder / 'out'}", *overrides])
    # The description's paths start at its folder.
    params = params.model_copy(update={"folder": CASES / case})
    with connect(params.engine, folder=folder / "work") as con:
        source = read_source(con, params, rejected_path=folder / "rejected.parquet")
        return source.summary, source.events.to_pandas()


def raw(case: str, file: str = "orders.csv") -> pd.DataFrame:
    return pd.read_csv(CASES / case / file, dtype=str, keep_default_na=False)


@pytest.mark.parametrize(("case", "nobody"), [("02-guest-zero", "0"), ("02b-nan-as-text", "nan")])
def test_guests_are_no_customer(case: str, nobody: str, tmp_path: Path) -> None:
    summary, events = read(case, tmp_path)
    ids = raw(case).customer_id
    assert summary.rejected_by_rule["not_a_customer"] == (ids == nobody).sum() == 457
    assert set(events.customer_id) == set(ids) - {nobody}
    assert [text for text in summary.warnings if text.startswith("not_a_customer: 457 of 3,516 rows")]


def test_addresses_in_mixed_case(tmp_path: Path) -> None:
    summary, _ = read("03-email-case", tmp_path)
    emails = raw("03-email-case").email
    assert (emails.nunique(), emails.str.strip().str.lower().nunique()) == (916, 422)
    [warning] = [text for text in summary.warnings if "customer ids" in text]
    assert warning.startswith("916 customer ids become 422") and warning.endswith("source.ids.normalise: email")
    summary, events = read("03-email-case", tmp_path, "source.ids.normalise=email")
    assert summary.customer_count == 422
    assert set(events.customer_id) == set(emails.str.strip().str.lower())
    assert not [text for text in summary.warnings if "customer ids" in text]


def test_leading_zeros_that_are_there(tmp_path: Path) -> None:
    summary, events = read("04-leading-zeros", tmp_path, file="fixed.yaml")
    assert set(events.customer_id) == set(raw("04-leading-zeros").client) and summary.customer_count == 2975
    assert not [text for text in summary.warnings if "zeros" in text]


def test_leading_zeros_that_a_query_lost(tmp_path: Path) -> None:
    """A table of customers that kept them shows it."""
    clients = raw("04-leading-zeros").client.unique()
    pd.DataFrame({"customer_id": clients}).to_csv(tmp_path / "customers.csv", index=False)
    query = (
        "select * replace (client::bigint as client), abs(quantity::double) as items, case when invoice like 'C%' then "
        "'return' else 'purchase' end as event_type from read_csv('orders.csv', all_varchar = true)"
    )
    lossy = (f"source.events.query={query}", f"source.customers={{path: {tmp_path / 'customers.csv'}}}")
    summary, _ = read("04-leading-zeros", tmp_path, *lossy)
    [warning] = [text for text in summary.warnings if "leading zeros are ignored" in text]
    lost_count = sum(client.startswith("0") for client in clients)
    assert warning.startswith(
        f"{lost_count} of 2,975 customer ids in source.customers are in the events only if leading"
    )
    assert summary.customer_count == len({client.lstrip("0") for client in clients}) == 2800


@pytest.mark.parametrize(
    ("links", "rule", "people"),
    [
        # 393 people signed in at least once, and nothing says whose the other 68 devices are.
        ("select user_id as customer_id, user_pseudo_id as alias_id, event_timestamp as linked_at", "last", 461),
        ("select user_id as customer_id, user_pseudo_id as alias_id", "components", 461),
        # The shop that was simulated had 400 people, whose numbers are at the end of the devices' ids.
        ("select split_part(user_pseudo_id, '.', 2) as customer_id, user_pseudo_id as alias_id", "last", 400),
    ],
)
def test_devices_are_joined_to_people(links: str, rule: str, people: int, tmp_path: Path) -> None:
    log = CASES / "12-ga4-export" / "events_2025.jsonl.gz"
    hits = pd.read_json(log, lines=True, dtype=False)
    described = (CASES / "12-ga4-export" / "query_pseudo.yaml").read_text(encoding="utf-8")
    described = f"base: {PARAMS}\n{described.replace('events_2025.jsonl', str(log))}"
    (tmp_path / "case.yaml").write_text(described, encoding="utf-8")
    identities = f"source.identities={{query: \"{links} from '{log}'\", time_format: epoch_us, rule: {rule}}}"

    def summary(*more: str) -> Any:
        params = load_params(tmp_path / "case.yaml", [f"outputs.folder={tmp_path / 'out'}", *more])
        with connect(params.engine, folder=tmp_path / "work") as con:
            return read_source(con, params, rejected_path=None).summary

    assert summary().customer_count == hits.user_pseudo_id.nunique() == 790
    joined = summary(identities)
    assert joined.customer_count == people
    if people == 461:
        signed_in = hits[hits.user_id.notna()]
        anonymous_count = hits.user_pseudo_id.nunique() - signed_in.user_pseudo_id.nunique()
        assert people == signed_in.user_id.nunique() + anonymous_count
        assert joined.joined_count == 790 - anonymous_count
