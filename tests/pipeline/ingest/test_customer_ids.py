"""Who a customer is: ids that are nobody's, ids in one form, ids of one person, and customers left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.commands.check import reading_text
from pipeline.config.errors import ParamsError, UserError
from pipeline.config.load import load_params
from pipeline.config.params import Params, source_fingerprint
from pipeline.ingest.source import Source, customers_digest, read_source
from pipeline.stores.database import connect
from pipeline.stores.forgotten import new_list, write_list
from tests.conftest import PARAMS

Read = Callable[..., tuple[Any, pd.DataFrame]]


def params_of(folder: Path, ids: Sequence[str | None], *more: str, **columns: Sequence[Any]) -> Params:
    """A log with one purchase a day for each id."""
    days = pd.date_range("2025-01-01", periods=len(ids))
    frame = pd.DataFrame({"customer_id": pd.Series(ids, dtype="string"), "occurred_at": days})
    frame.assign(event_type="purchase", product_id="p", **columns).to_parquet(folder / "log.parquet")
    places = [f"source.events.path={folder / 'log.parquet'}", f"outputs.folder={folder / 'out'}"]
    return load_params(PARAMS, [*places, "source.products=null", "source.customers=null", *more])


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a log of these ids; returns the summary, and the accepted events in the order of time."""

    def make(ids: Sequence[str | None], *more: str, **columns: Sequence[Any]) -> tuple[Any, pd.DataFrame]:
        summary, source = read_tables(tmp_path, params_of(tmp_path, ids, *more, **columns))
        return summary, source["events"]

    return make


def read_tables(folder: Path, params: Params) -> tuple[Any, dict[str, pd.DataFrame]]:
    def frame(source: Source, name: str) -> pd.DataFrame:
        table = getattr(source, name)
        return pd.DataFrame() if table is None else table.to_pandas()

    with connect(params.engine, folder=folder / "work") as con:
        source = read_source(con, params, rejected_path=folder / "rejected.parquet")
        tables = {name: frame(source, name) for name in ("events", "customers")}
    tables["events"] = tables["events"].sort_values("occurred_at")
    summary = source.summary
    left_out = summary.forgotten_count + sum(summary.left_out.values())
    assert summary.read_count == summary.accepted_count + summary.rejected_count + left_out
    assert summary.customer_count == tables["events"].customer_id.nunique()
    return summary, tables


def table(folder: Path, name: str, rows: dict[str, Sequence[Any]], section: str = "") -> str:
    """Write a table, and describe it in a ``--set``."""
    pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    return f"source.{name}={{path: {folder / f'{name}.csv'}{section}}}"


@pytest.mark.parametrize("nobody", ["0", "0.0", "-1", "-1.00", "nan", " NaN ", "Guest", "n/a", "NULL", "undefined\t"])
def test_ids_that_are_nobodys_are_set_aside(read: Read, tmp_path: Path, nobody: str) -> None:
    summary, events = read(["a", nobody, "b", nobody, "c", "c"])
    assert events.customer_id.tolist() == ["a", "b", "c", "c"]
    assert summary.rejected_by_rule["not_a_customer"] == summary.rejected_count == 2
    assert [row["reasons"] for row in pq.read_table(tmp_path / "rejected.parquet").to_pylist()] == [
        ["not_a_customer"]
    ] * 2
    [warning] = summary.warnings[-1:]
    assert warning.startswith("not_a_customer: 2 of 6 rows") and "source.ids.not_customers" in warning


@pytest.mark.parametrize("somebody", ["10", "guest1", "a0", "-11", "0x0", "nana", "1e0", "١"])
def test_ids_that_only_begin_like_those(read: Read, somebody: str) -> None:
    summary, events = read(["a", somebody])
    assert events.customer_id.tolist() == ["a", somebody] and summary.rejected_count == 0


def test_a_shop_whose_customers_are_counted_from_0(read: Read) -> None:
    summary, _ = read([str(number) for number in range(10)])
    assert summary.customer_count == 9 and any("source.ids.not_customers" in text for text in summary.warnings)
    summary, _ = read([str(number) for number in range(10)], "source.ids.not_customers=[]")
    assert summary.customer_count == 10 and not any("not_customers" in text for text in summary.warnings)


def test_names_may_be_written_as_yaml_reads_them(read: Read) -> None:
    _, events = read(["0", "null", "Gast", "x", "y", "z"], "source.ids.not_customers=[0, null, gast]")
    assert events.customer_id.tolist() == ["x", "y", "z"]


def test_names_may_be_digits_of_any_script(read: Read) -> None:
    _, events = read(["٠", "x", "0"], "source.ids.not_customers=['٠']")
    assert events.customer_id.tolist() == ["x", "0"]


def test_too_many_rows_of_nobody_stop_the_reading(read: Read) -> None:
    with pytest.raises(UserError, match=r"not_a_customer .*expected an id that source.ids.not_customers does not list"):
        read(["NA"] * 6 + ["a"] * 4)


def test_nobody_is_a_registered_customer(tmp_path: Path) -> None:
    customers = table(tmp_path, "customers", {"customer_id": ["a", "0.0", "unknown", "z"], "city": list("klmn")})
    _, tables = read_tables(tmp_path, params_of(tmp_path, ["a"], customers))
    assert sorted(tables["customers"].customer_id) == ["a", "z"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("none", [" Ann@x.al", "ann@x.al", "ANN@X.AL", "Zoe\u0308@x.al", "Zo\u00eb@x.al"]),
        ("trim", ["Ann@x.al", "ann@x.al", "ANN@X.AL", "Zoe\u0308@x.al", "Zo\u00eb@x.al"]),
        ("lower", ["ann@x.al", "ann@x.al", "ann@x.al", "zoe\u0308@x.al", "zo\u00eb@x.al"]),
        ("email", ["ann@x.al", "ann@x.al", "ann@x.al", "zo\u00eb@x.al", "zo\u00eb@x.al"]),
    ],
)
def test_ids_in_one_form(read: Read, rule: str, expected: list[str]) -> None:
    ids = [" Ann@x.al", "ann@x.al", "ANN@X.AL", "Zoe\u0308@x.al", "Zo\u00eb@x.al"]
    summary, events = read(ids, f"source.ids.normalise={rule}")
    assert events.customer_id.tolist() == expected
    assert summary.customer_count == len({*expected})


@pytest.mark.parametrize("rule", ["trim", "lower", "email"])
@pytest.mark.parametrize("blank", ["\u00a0", " \u00a0\t"])
def test_an_id_of_blanks_is_missing(read: Read, rule: str, blank: str) -> None:
    summary, events = read(["a", blank, "B "], f"source.ids.normalise={rule}", "checks.missing_customer_id.error=1")
    assert events.customer_id.tolist() == ["a", "B" if rule == "trim" else "b"]
    assert summary.rejected_by_rule["missing_customer_id"] == summary.rejected_count == 1


def test_whole_numbers_written_as_decimals(read: Read) -> None:
    ids = ["17850.0", " 017.0", "17850", "1.5", "v2.0", "3.00"]
    assert read(ids, "source.ids.normalise=whole")[1].customer_id.tolist() == ["17850", "017", "17850", *ids[3:]]
    assert read(ids)[1].customer_id.tolist() == ids
    assert not [text for text in read(ids[:3], "source.ids.normalise=whole")[0].warnings if "customer ids" in text]


def test_dots_and_tags_of_addresses_are_kept(read: Read) -> None:
    ids = ["a.b@gmail.com", "ab@gmail.com", "ab+x@gmail.com"]
    assert read(ids, "source.ids.normalise=email")[1].customer_id.tolist() == ids


def test_registered_customers_have_ids_in_the_same_form(tmp_path: Path) -> None:
    customers = table(tmp_path, "customers", {"customer_id": ["A", "b", "a"], "city": ["k", "l", "m"]})
    _, tables = read_tables(tmp_path, params_of(tmp_path, ["a ", "B"], customers, "source.ids.normalise=lower"))
    rows = tables["customers"].sort_values("customer_id")
    assert rows.customer_id.tolist() == ["a", "b"]
    assert rows.city.tolist() == ["m", "l"]  # of the row with the id as it is


SERIAL = [f"{number:05}" for number in range(0, 40_000, 401)]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
RANDOM = ["".join(LETTERS[(number * 7919**power + power * 31) % 52] for power in range(1, 9)) for number in range(300)]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["5.26E+12", "1E+05", "77"], "2 customer ids (2 rows) look like 5.26E+12"),
        (["a", "A", "b", "B ", "c"], "5 customer ids become 3 when case and outer blanks are ignored"),
        (["a", "A", "b"], "set source.ids.normalise: lower"),
        (["a", "a ", "b"], "3 customer ids become 2 when outer blanks are ignored"),
        (["a", "a\u00a0", "b"], "set source.ids.normalise: trim"),
        (["Ann@x.al", "ann@x.al", "bo@x.al"], "3 customer ids become 2 when case and outer blanks are ignored"),
        (["Ann@x.al", "ann@x.al", "bo@x.al"], "set source.ids.normalise: email"),
        (["Ann@x.al", "bo@x.al"], "1 customer ids are email addresses with capital letters"),
        (["17850.0", "17.0", "x"], "2 customer ids are whole numbers that end in .0"),
        (["17850.0", "17.0", "x"], "set source.ids.normalise: whole"),
        ([*SERIAL, "17", "823"], "2 customer ids have fewer than the usual 5 digits"),
    ],
)
def test_ids_that_have_lost_something(read: Read, ids: list[str], expected: str) -> None:
    assert [text for text in read(ids)[0].warnings if expected in text]


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(["5e12", "1E5", "a+e", "E+05", "x5.2E+12"], id="not written by a spreadsheet"),
        pytest.param([*RANDOM, *(text.swapcase() for text in RANDOM)], id="random letters, in which case counts"),
        pytest.param(["a", "b", "C", "D e"], id="capitals that nobody else has"),
        pytest.param(["ann@x.al", "bo@x.al"], id="addresses in small letters"),
        pytest.param(SERIAL, id="all leading zeros are there"),
        pytest.param([str(number) for number in range(1, 1200, 7)], id="numbers of any length"),
        pytest.param(["012345", *(f"{number}" for number in range(12300, 12400))], id="few with zeros, and longer"),
        pytest.param(["1.0", "1.1", "2.0", "3.0"], id="numbers of which some have decimals"),
        pytest.param(["1.0", "2", "3", "4.0"], id="few numbers that end in .0"),
        pytest.param(["v1.0", "v2.0", "1.2.0", "2.0.0"], id="other texts that end in .0"),
        pytest.param([None, "a", "b"], id="missing"),
    ],
)
def test_ids_that_are_as_they_should_be(read: Read, ids: list[str | None]) -> None:
    summary, _ = read(ids)
    assert not [text for text in summary.warnings if "customer ids" in text]


@pytest.mark.parametrize(
    ("ids", "registered", "lost"),
    [
        (
            ["12", "7", "123"],
            ["00012", "00007", "00123"],
            "3 of 3 customer ids of the events are in source.customers only",
        ),
        (["00012", "00123"], ["12", "123"], "2 of 2 customer ids"),
        (
            ["12", "13", "14"],
            ["00012", "12", "13", "14"],
            "1 of 4 customer ids in source.customers are in the events only",
        ),
        (["12", "00013"], ["00012", "12", "00013"], None),
        (["00012", "12"], ["00012", "12"], None),
        (["00012", "55"], ["00012", "00077"], None),
        (["12", "13"], ["12", "14"], None),
    ],
)
def test_leading_zeros_that_another_table_has(
    tmp_path: Path, ids: list[str], registered: list[str], lost: str | None
) -> None:
    customers = table(tmp_path, "customers", {"customer_id": registered})
    summary, _ = read_tables(tmp_path, params_of(tmp_path, ids, customers))
    found = [text for text in summary.warnings if "leading zeros are ignored" in text]
    assert [text.startswith(lost) for text in found] == [True] if lost else not found


def test_leading_zeros_of_products(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("product_id,category_path\n0115,A\n0116,B\n", encoding="utf-8")
    products = f"source.products={{path: {tmp_path / 'products.csv'}}}"

    def found(*ids: str) -> list[str]:
        params = params_of(tmp_path, ["a"] * len(ids), products).model_copy()
        frame = pd.read_parquet(tmp_path / "log.parquet").assign(product_id=ids)
        frame.to_parquet(tmp_path / "log.parquet")
        return [text for text in read_tables(tmp_path, params)[0].warnings if "product ids" in text]

    [warning] = found("115", "116", "0115")
    assert warning.startswith("2 of 3 product ids of the events are in source.products only")
    assert not found("0115", "117")


LINKS = {
    "customer_id": ["ann", "ann", "bo", "bo", "ann", "cy"],
    "alias_id": ["d1", "d2", "d2", "bo", "", "NA"],
    "linked_at": ["2025-01-01", "2025-01-01", "2025-02-01", "2025-01-01", "2025-01-01", "2025-01-01"],
}


def test_the_last_link_of_a_device_wins(tmp_path: Path) -> None:
    identities = table(tmp_path, "identities", LINKS)
    summary, tables = read_tables(tmp_path, params_of(tmp_path, ["d1", "d2", "ann", "bo", "d9"], identities))
    assert tables["events"].customer_id.tolist() == ["ann", "bo", "ann", "bo", "d9"]
    assert (summary.customer_count, summary.joined_count) == (3, 2)
    assert "Customers 3 (2 of their ids joined to others)" in " ".join(reading_text(summary, "UTC").split())
    assert "identities: 2 of 6 rows have no id, or one of source.ids.not_customers; left out" in summary.warnings


def test_links_after_as_of_are_not_known_yet(tmp_path: Path) -> None:
    identities = table(tmp_path, "identities", LINKS)
    params = params_of(tmp_path, ["d1", "d2", "ann"], identities, "as_of=2025-02-01T00:00:00Z")
    assert read_tables(tmp_path, params)[1]["events"].customer_id.tolist() == ["ann", "ann", "ann"]


def test_times_of_links_may_have_the_day_first(tmp_path: Path) -> None:
    rows = {
        "customer_id": ["ann", "bo"],
        "alias_id": ["d1", "d1"],
        "linked_at": ["25/01/2025", "03/02/2025"],
    }
    params = params_of(tmp_path, ["d1", "ann"], table(tmp_path, "identities", rows))
    summary, tables = read_tables(tmp_path, params)
    assert tables["events"].customer_id.tolist() == ["bo", "ann"]
    assert not [text for text in summary.warnings if "linked_at" in text]
    rows["linked_at"] = ["05/01/2025", "03/02/2025"]
    with pytest.raises(UserError, match=r"source\.identities\.time_format: expected a known order of day and month"):
        read_tables(tmp_path, params_of(tmp_path, ["d1"], table(tmp_path, "identities", rows)))


def test_links_in_chains(tmp_path: Path) -> None:
    identities = table(tmp_path, "identities", {"customer_id": ["b", "c", "d"], "alias_id": ["a", "b", "c"]})
    _, tables = read_tables(tmp_path, params_of(tmp_path, ["a", "b", "c", "d"], identities))
    assert tables["events"].customer_id.unique().tolist() == ["d"]


def test_groups_of_linked_ids_are_one_person(tmp_path: Path) -> None:
    rows = {"customer_id": ["m", "k", "k", "z"], "alias_id": ["a1", "a1", "a2", "a3"]}
    identities = table(tmp_path, "identities", rows, ", rule: components")
    _, tables = read_tables(tmp_path, params_of(tmp_path, ["a1", "a2", "a3", "m", "k", "z", "other"], identities))
    assert tables["events"].customer_id.tolist() == ["k", "k", "z", "k", "k", "z", "other"]
    shuffled = table(
        tmp_path, "identities", {name: values[::-1] for name, values in rows.items()}, ", rule: components"
    )
    _, again = read_tables(tmp_path, params_of(tmp_path, ["a1", "a2", "a3", "m", "k", "z", "other"], shuffled))
    assert again["events"].customer_id.tolist() == tables["events"].customer_id.tolist()


def test_ids_of_identities_and_events_have_one_form(tmp_path: Path) -> None:
    identities = table(tmp_path, "identities", {"customer_id": ["Ann "], "alias_id": ["D1"]})
    params = params_of(tmp_path, ["d1 ", "ANN"], identities, "source.ids.normalise=lower")
    assert read_tables(tmp_path, params)[1]["events"].customer_id.tolist() == ["ann", "ann"]


@pytest.mark.parametrize(
    ("rows", "section", "expected"),
    [
        ({"customer_id": ["a", "b"], "alias_id": ["b", "a"]}, "", "1 groups of ids are linked in a circle"),
        (
            {"customer_id": ["a"] * 3, "alias_id": ["x", "y", "z"]},
            ", largest_group: 3",
            "1 groups have more than 3 ids",
        ),
        (
            {"customer_id": ["a", "b", "c"], "alias_id": ["x"] * 3},
            ", rule: components, largest_group: 3",
            "1 groups have more than 3 ids",
        ),
    ],
)
def test_groups_that_are_no_person(tmp_path: Path, rows: dict[str, list[str]], section: str, expected: str) -> None:
    with pytest.raises(UserError, match=rf"source\.identities: {expected}.*on_large_group: warn"):
        read_tables(tmp_path, params_of(tmp_path, ["a", "x"], table(tmp_path, "identities", rows, section)))
    lenient = table(tmp_path, "identities", rows, f"{section}, on_large_group: warn")
    summary, tables = read_tables(tmp_path, params_of(tmp_path, ["a", "x"], lenient))
    assert tables["events"].customer_id.tolist() == ["a", "x"]
    assert any(f"identities: {expected}" in text and "not joined" in text for text in summary.warnings)


def test_a_group_of_the_largest_size_is_a_person(tmp_path: Path) -> None:
    rows = {"customer_id": ["a"] * 2, "alias_id": ["x", "y"]}
    identities = table(tmp_path, "identities", rows, ", largest_group: 3")
    summary, tables = read_tables(tmp_path, params_of(tmp_path, ["a", "x"], identities))
    assert tables["events"].customer_id.tolist() == ["a", "a"]
    assert not [text for text in summary.warnings if "identities" in text]


def test_links_without_times_that_contradict_each_other(tmp_path: Path) -> None:
    rows = {"customer_id": ["a", "b"], "alias_id": ["x", "x"]}
    with pytest.raises(UserError, match=r"1 ids are linked to several customers.*rule: components"):
        read_tables(tmp_path, params_of(tmp_path, ["a"], table(tmp_path, "identities", rows)))


def test_the_row_of_the_persons_own_id_is_taken(tmp_path: Path) -> None:
    identities = table(tmp_path, "identities", {"customer_id": ["z"], "alias_id": ["a"]})
    customers = table(tmp_path, "customers", {"customer_id": ["a", "z"], "city": ["alias", "own"]})
    _, tables = read_tables(tmp_path, params_of(tmp_path, ["a"], identities, customers))
    assert tables["customers"].to_dict("records") == [{"customer_id": "z", "city": "own"}]


def test_excluded_customers_are_left_out_everywhere(tmp_path: Path) -> None:
    rows = {"customer_id": ["a", "b", "c", "staff@shop.al", "7"], "email": ["", "", "", "", "Eve@Shop.al"]}
    exclude = 'source.exclude={customer_ids: [b, "nobody"], email_domains: ["@SHOP.al"]}'
    params = params_of(
        tmp_path, ["a", "b", "staff@shop.al", "7", "x@nshop.al"], exclude, table(tmp_path, "customers", rows)
    )
    summary, tables = read_tables(tmp_path, params)
    assert tables["events"].customer_id.tolist() == ["a", "x@nshop.al"]
    assert sorted(tables["customers"].customer_id) == ["a", "c"]
    assert (summary.left_out, summary.rejected_count) == ({"excluded": 3}, 0)
    assert "Excluded 3 (left out)" in " ".join(reading_text(summary, "UTC").split())
    assert "source.exclude.customer_ids: 1 of 2 are no customer's" in summary.warnings
    assert not {"b", "7"} & {*json.dumps(summary.as_dict()).replace('"', " ").split()}


def test_a_file_of_excluded_customers(tmp_path: Path) -> None:
    (tmp_path / "staff.txt").write_text("B \nc\n", encoding="utf-8")
    exclude = (f"source.exclude.customer_ids={tmp_path / 'staff.txt'}", "source.ids.normalise=lower")
    summary, tables = read_tables(tmp_path, params_of(tmp_path, ["A", "b", "C"], *exclude))
    assert tables["events"].customer_id.tolist() == ["a"] and summary.left_out == {"excluded": 2}
    with pytest.raises(UserError, match=r"source\.exclude\.customer_ids: expected a file of customer ids"):
        read_tables(tmp_path, params_of(tmp_path, ["A"], f"source.exclude.customer_ids={tmp_path / 'none.txt'}"))


def test_rows_that_meet_a_condition_are_left_out(tmp_path: Path) -> None:
    customers = table(tmp_path, "customers", {"customer_id": ["a", "test1", "b"]})
    where = "source.exclude.where=\"channel = 'internal' or customer_id like 'test%' -- staff\""
    params = params_of(
        tmp_path, ["a", "a", "test1", "b", ""], where, customers, channel=["web", "internal", "web", "internal", "web"]
    )
    summary, tables = read_tables(tmp_path, params)
    assert tables["events"].customer_id.tolist() == ["a"]
    assert (summary.left_out, summary.rejected_count) == ({"excluded": 3}, 1)
    assert sorted(tables["customers"].customer_id) == ["a", "b"]  # b is registered, whatever its orders were


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("chan = 'x'", "unknown column"),
        ('customer_id = "secret"', "unknown column"),
        ("customer_id = secret(3)", "unknown column"),
        ("customer_id = 'a' 'secret@x.com'", "not valid SQL"),
        ("channel =", "not valid SQL"),
        ("channel::int > 3", "try_cast"),
        ("try_cast('secret' as date) > 3", "types that do not fit"),
        ("select 1; drop table secret", "not valid SQL"),
    ],
)
def test_conditions_that_cannot_be_used(read: Read, where: str, expected: str) -> None:
    with pytest.raises(UserError, match=r"source\.exclude\.where: expected one SQL condition on customer_id") as caught:
        read(["a"], f"source.exclude.where={json.dumps(where)}", channel=["web secret"])
    assert expected in str(caught.value) and "secret" not in str(caught.value)


def test_excluding_one_id_excludes_the_person(tmp_path: Path) -> None:
    identities = table(tmp_path, "identities", {"customer_id": ["ann"], "alias_id": ["d1"]})
    params = params_of(tmp_path, ["ann", "d1", "bo"], identities, "source.exclude.customer_ids=[d1]")
    assert read_tables(tmp_path, params)[1]["events"].customer_id.tolist() == ["bo"]


@pytest.mark.parametrize("forgotten", ["ann", "D1 ", "d1"])
def test_forgetting_one_id_forgets_the_person(tmp_path: Path, forgotten: str) -> None:
    identities = table(tmp_path, "identities", {"customer_id": ["ann"], "alias_id": ["d1"]})
    params = params_of(tmp_path, ["ANN", "D1 ", "bo"], identities, "source.ids.normalise=lower")
    write_list(params, new_list(params).with_customers([forgotten]))
    summary, tables = read_tables(tmp_path, params)
    assert tables["events"].customer_id.tolist() == ["bo"] and summary.forgotten_count == 2


@pytest.mark.parametrize(
    "where",
    [
        "customer_id in ('secret-2', '123') or quantity = 4567",
        "customer_id = $$secret@x.com$$",
        "quantity > 2 -- secret",
        "customer_id = E'it\\'s secret'",
    ],
)
def test_what_is_kept_names_no_excluded_customer(tmp_path: Path, where: str) -> None:
    condition = f"source.exclude.where={json.dumps(where)}"
    params = params_of(tmp_path, ["a"], "source.exclude.customer_ids=[secret-1, secret-3]", condition)
    assert params.source.exclude.where == where
    kept = json.dumps(params.redacted().model_dump(mode="json"))
    assert "secret" not in kept and "123" not in kept and "4567" not in kept
    assert params.redacted().source.exclude.customer_ids == ("***", "***")
    file = params_of(tmp_path, ["a"], f"source.exclude.customer_ids={tmp_path / 'staff.txt'}")
    assert file.redacted().without_folders().source.exclude.customer_ids == "staff.txt"


def test_an_unquoted_id_is_refused_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="expected ids in quotes") as caught:
        params_of(tmp_path, ["a"], "source.exclude.customer_ids=[17850]")
    assert "17850" not in str(caught.value)
    with pytest.raises(ParamsError, match="Whole addresses belong in customer_ids"):
        params_of(tmp_path, ["a"], "source.exclude.email_domains=[ann@shop.al]")


@pytest.mark.parametrize(
    "override",
    [
        "customer_ids=17850",
        "customer_ids.0=K17850",
        "email_domains=ann17850@shop.al",
        "email_domains=[17850]",
        "where=17850",
        "where.text=K17850",
        "={email_domains: K17850}",
        "=K17850",
    ],
)
def test_no_message_shows_a_value_of_the_exclusions(tmp_path: Path, override: str) -> None:
    key = "source.exclude" if override[0] == "=" else "source.exclude."
    with pytest.raises(ParamsError, match=r"source\.exclude") as caught:
        params_of(tmp_path, ["a"], f"{key}{override}")
    assert "17850" not in str(caught.value)
    if override[0] != "=" and "." not in override.partition("=")[0]:
        name, _, value = override.partition("=")
        path = tmp_path / "mine.yaml"
        path.write_text(f"base: {PARAMS}\nsource:\n  exclude:\n    {name}: {value}\n", encoding="utf-8")
        with pytest.raises(ParamsError, match=rf"mine\.yaml, line 4: `source\.exclude\.{name}") as caught:
            load_params(path)
        assert "17850" not in str(caught.value)


def test_which_settings_make_another_source(tmp_path: Path) -> None:
    plain = params_of(tmp_path, ["a"])
    lower = params_of(tmp_path, ["a"], "source.ids.normalise=lower")
    excluding = params_of(tmp_path, ["a"], "source.exclude.customer_ids=[b]")
    assert source_fingerprint(plain) != source_fingerprint(lower)
    assert source_fingerprint(plain) == source_fingerprint(excluding)


def test_the_digest_of_customers_follows_the_links_and_exclusions(tmp_path: Path) -> None:
    def digest(*more: str) -> str:
        params = params_of(tmp_path, ["a"], *more)
        with connect(params.engine, folder=tmp_path / "work") as con:
            return customers_digest(con, params)

    assert digest() == ""
    first = digest(table(tmp_path, "identities", {"customer_id": ["a", "b"], "alias_id": ["x", "y"]}))
    again = digest(table(tmp_path, "identities", {"customer_id": ["b", "a"], "alias_id": ["y", "x"]}))
    other = digest(table(tmp_path, "identities", {"customer_id": ["a", "a"], "alias_id": ["x", "y"]}))
    excluding = digest("source.exclude.customer_ids=[b]")
    assert digest("source.exclude.where=quantity = 1") != digest("source.exclude.where=quantity = 2")
    assert first == again and len({first, other, excluding, digest("source.exclude.customer_ids=[c]")}) == 4
