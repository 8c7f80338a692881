"""`kindred audience` on scores made by hand: every list equals a query in pandas, and bad input is refused."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from models.control_groups import detectable_effect
from pipeline.audiences.build import HELD_OUT
from pipeline.audiences.storage import recently_contacted, stored_audiences
from pipeline.cli import main
from pipeline.commands.actions.audience import AudienceOptions, AudiencesResult, audience
from pipeline.config.errors import UserError
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.stores.files import files_elsewhere
from pipeline.stores.writers import write_table
from tests.conftest import PARAMS

N = 2_000
AS_OF = datetime(2025, 12, 1, tzinfo=UTC)
SEGMENTS = {"s01": "VIP", "s02": "Regulars", "standing-lost": "Long gone"}
INTERESTS = {"i01": "Cats", "i02": "Dogs"}


def write_scores(path: Path, frame: pd.DataFrame, as_of: datetime = AS_OF) -> None:
    moments = pa.array([as_of] * len(frame), pa.timestamp("us", "UTC"))
    write_table(path, pa.Table.from_pandas(frame, preserve_index=False).append_column("as_of", moments))


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    ids, interests = rng.choice([*SEGMENTS], N), rng.choice([*INTERESTS], N)
    return pd.DataFrame(
        {
            "customer_id": [f"{number:05}" for number in rng.permutation(N)],
            "segment_id": ids,
            "segment": [SEGMENTS[key] for key in ids],
            "interest_segment_id": interests,
            "interest_segment": [INTERESTS[key] for key in interests],
            "value_tier": rng.choice(["vip", "regular"], N),
            "days_since_last_purchase": np.where(rng.random(N) < 0.3, np.nan, rng.integers(0, 200, N)),
            "order_count": rng.integers(0, 9, N).astype(float),
            "spend": rng.integers(0, 500, N) / 4,
            "top_categories": [["Pets > Cats"], ["Garden"], [], ["Garden", "Pets > Cats > Food"]] * (N // 4),
            "buy_probability": rng.uniform(0.02, 0.06, N),
            "is_border": rng.random(N) < 0.2,
            "model_uri": "models:/kindred/1",
            "run_id": "r1",
        }
    )


@pytest.fixture
def params(tmp_path: Path, scores: pd.DataFrame) -> Callable[..., Params]:
    write_scores(tmp_path / "scores.parquet", scores)
    (tmp_path / "contacts.csv").write_text(
        "customer_id,email,consent\n"
        + "".join(f"{text},{'same' if place < 2 else text}@shop.al,{'no' if place % 4 == 3 else 'yes'}\n"
                  for place, text in enumerate(scores.customer_id[:-10])),
        encoding="utf-8",
    )  # fmt: skip

    def make(audiences: dict | None = None, *more: str) -> Params:
        own = {"base": str(PARAMS), "audiences": {"lapsing_vips": None, "carts_this_week": None, **(audiences or {})}}
        own["outputs"] = {"folder": "outputs", "scores": "scores.parquet"}
        own["tracking"] = {"uri": "sqlite:///mlflow.db", "artifacts": "artifacts"}
        own["source"] = {"events": {"query": "select 1"}, "products": None, "customers": None}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(own, sort_keys=False), encoding="utf-8")
        return load_params(tmp_path / "params.yaml", more)

    return make


def ids_in(path: Path) -> list[str]:
    return pd.read_csv(path, dtype=str).customer_id.tolist()


def refusal(params: Params, **options) -> str:
    with pytest.raises(UserError) as raised:
        audience(params, AudienceOptions(**options))
    return str(raised.value)


def test_a_list_and_its_funnel_equal_queries_on_the_scores(params, scores) -> None:
    where = {"segment": ["VIP", "Regulars"], "spend": {"min": 50}, "category": "Cats"}
    made = audience(params({"a": {"where": where, "order_by": "-spend", "limit": 40}}), AudienceOptions("a"))
    steps = [scores]
    steps.append(steps[-1][steps[-1].segment != "Long gone"])
    steps.append(steps[-1][steps[-1].spend >= 50])
    steps.append(steps[-1][[any("Cats" in path for path in paths) for paths in steps[-1].top_categories]])
    expected = steps[-1].sort_values(["spend", "customer_id"], ascending=[False, True]).head(40)
    (written,) = made.written
    assert ids_in(written.path) == expected.customer_id.tolist()
    listed = pd.read_csv(written.path, dtype={"customer_id": str})
    for column in ("segment", "interest_segment", "order_count", "spend", "buy_probability"):
        assert listed[column].tolist() == expected[column].tolist()
    text = made.as_text()
    for words, count in zip(
        ["scored", "segment is VIP or Regulars", "spend is at least 50", "category is Cats"], steps, strict=True
    ):
        assert re.search(rf"^{re.escape(words)} +{len(count):,}( |$)", text, re.MULTILINE), text
    assert "Send            40 customers" in text
    assert "nobody is held out" in text


def test_the_control_group_is_kept_and_not_listed(params, scores) -> None:
    made = audience(params({"a": {"where": {"segment": "VIP"}}}), AudienceOptions("a", holdout=0.2)).written[0]
    (kept,) = stored_audiences(made.path.parents[1], "a")
    table = kept.table()
    vip = scores[scores.segment == "VIP"]
    assert set(table.customer_id) == set(vip.customer_id)
    held_out = table[table.group == HELD_OUT]
    assert set(ids_in(made.path)) == set(table.customer_id) - set(held_out.customer_id)
    assert 0.1 < len(held_out) / len(vip) < 0.3
    base = vip.buy_probability.mean()
    rise = detectable_effect(len(vip) - len(held_out), len(held_out), base)
    assert f"a rise from {base:.1%} to {base + rise:.1%} of customers who buy, or more" in made.as_text()
    assert ("the groups are too small" in made.as_text()) == (rise > base)
    assert "effect a --until 2025-12-31" in made.as_text()


@pytest.mark.parametrize(("again", "what_to_do"), [(None, "--holdout 0.2"), (0.0, "--holdout 0.2"), (0.3, "--holdout")])
def test_a_control_group_that_is_kept_is_not_replaced_by_another(params, again: float | None, what_to_do: str) -> None:
    settings = params({"a": {"where": {"segment": "VIP"}}})
    made = audience(settings, AudienceOptions("a", holdout=0.2)).written[0]
    (kept,) = stored_audiences(made.path.parents[1], "a")
    before, listed = kept.path.read_bytes(), made.path.read_bytes()
    held_out, count = made.audience.count(HELD_OUT), len(made.audience.table)
    message = refusal(settings, name="a", holdout=again)
    assert f"({held_out:,} of {count:,} customers held out), got one with " in message
    assert what_to_do in message and f"delete {kept.path} to start anew" in message
    assert (kept.path.read_bytes(), made.path.read_bytes()) == (before, listed)
    assert audience(settings, AudienceOptions("a", holdout=0.2)).written[0].audience.count(HELD_OUT) == held_out
    kept.path.unlink()
    assert audience(settings, AudienceOptions("a", holdout=again)).written


def test_an_audience_gets_a_control_group_when_it_is_made_again(params, scores, tmp_path: Path) -> None:
    settings = params({"a": {"where": {"segment": "VIP"}}})
    assert not audience(settings, AudienceOptions("a")).written[0].audience.count(HELD_OUT)
    assert audience(settings, AudienceOptions("a", holdout=0.2)).written[0].audience.count(HELD_OUT)
    fewer = params({"a": {"where": {"segment": "VIP", "spend": {"min": 60}}, "holdout_share": 0.2}})
    assert "its conditions or the scores have changed since" in refusal(fewer, name="a")
    # Another date is another campaign.
    write_scores(tmp_path / "scores.parquet", scores, AS_OF + timedelta(days=1))
    assert audience(settings, AudienceOptions("a")).written


@pytest.mark.parametrize("text", ["VIP", "vip", "s01"])
def test_a_segment_and_an_interest_need_no_setting(params, scores, text: str) -> None:
    (made,) = audience(params(), AudienceOptions(segments=[text], interests=["Cats"])).written
    assert made.path.name == "vip-interest-cats.csv"
    assert sorted(ids_in(made.path)) == sorted(
        scores.query("segment == 'VIP' and interest_segment == 'Cats'").customer_id
    )


def test_an_interest_may_be_a_category(params, scores) -> None:
    for options in (AudienceOptions(interests=["Garden"]), AudienceOptions(categories=["Garden"])):
        (made,) = audience(params(), options).written
        assert sorted(ids_in(made.path)) == sorted(
            scores.customer_id[["Garden" in row for row in scores.top_categories]]
        )


def test_lists_with_other_conditions_have_other_files_or_say_what_they_replaced(params) -> None:
    def text(name: str, **options: object) -> str:
        made = audience(params(), AudienceOptions(**options))
        assert made.written[0].path.name == name
        return made.as_text()

    for _ in range(2):  # the same list again is no other one
        for name, options in {
            "interest-cats.csv": {"interests": ["Cats"]},
            "category-cats.csv": {"categories": ["Cats"]},
            "category-pets-cats.csv": {"categories": ["Pets > Cats"]},
            "vip.csv": {"segments": ["VIP"]},
        }.items():
            assert "Replaced" not in text(name, **options)
    again = text("category-pets-cats.csv", categories=["Pets", "Cats"])
    assert re.search(r"Replaced +\S+/category-pets-cats.csv, which was there before with other conditions", again)
    made = audience(params({"vip": {"where": {"customer_id": ["00001", "00002"]}}}), AudienceOptions("vip"))
    assert "Replaced" in made.as_text()
    made = audience(params({"vip": {"where": {"customer_id": ["00001", "00002"]}}}), AudienceOptions("vip"))
    assert "Replaced" not in made.as_text()


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".xlsx", ".sqlite", ".duckdb"])
def test_each_suffix_holds_the_same_customers(params, scores, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"list{suffix}"
    audience(params({"a": {"where": {"segment": "VIP"}}}), AudienceOptions("a", out=out))
    if suffix == ".sqlite":
        with closing(sqlite3.connect(out)) as con:
            found = [text for (text,) in con.execute("select customer_id from a order by position")]
        assert found == sorted(scores.customer_id[scores.segment == "VIP"])
    assert out.stat().st_size


def test_a_list_elsewhere_is_kept_in_mind_and_a_file_that_it_replaced_is_named(params, tmp_path: Path, capsys) -> None:
    params({"a": {"where": {"segment": "VIP"}}})
    arguments = ["audience", "a", "--params", str(tmp_path / "params.yaml")]
    out = tmp_path / "lists" / "vips.csv"
    for own in ([], ["--out", str(out)], []):
        assert main([*arguments, *own]) == 0
        assert "Replaced" not in capsys.readouterr().out
    assert files_elsewhere(tmp_path / "outputs") == [out]
    assert main([*arguments, "--out", str(out)]) == 0
    assert f"Replaced  {out}, which was there before" in capsys.readouterr().out
    (tmp_path / "folder.csv").mkdir()
    assert main([*arguments, "--out", str(tmp_path / "folder.csv")]) == 2  # noted before it is written
    assert files_elsewhere(tmp_path / "outputs") == [tmp_path / "folder.csv", out]
    capsys.readouterr()
    for _ in range(2):  # of a database, only a table is replaced
        assert main([*arguments, "--out", str(tmp_path / "crm.sqlite")]) == 0
        assert "Replaced" not in capsys.readouterr().out


def test_a_name_that_is_too_long_is_refused(params, tmp_path: Path, capsys) -> None:
    params({"a": {"where": {"segment": "VIP"}}})
    out = tmp_path / f"{'x' * 300}.csv"
    assert main(["audience", "a", "--params", str(tmp_path / "params.yaml"), "--out", str(out)]) == 2
    assert "File name too long" in capsys.readouterr().err


def test_all_audiences_are_written_and_those_that_cannot_be_are_named(params, tmp_path: Path, capsys) -> None:
    everything = {"a": {"where": {"segment": "VIP"}}, "b": {"where": {"segment": "Old"}}, "c": {"where": {}}}
    made: AudiencesResult = audience(params(everything), AudienceOptions(out=tmp_path / "lists.sqlite"))
    assert [one.audience.name for one in made.written] == ["a", "c"]
    assert len(made.failures) == 1
    assert "audiences.b.where.segment: expected a segment" in made.failures[0]
    assert main(["audience", "--params", str(tmp_path / "params.yaml")]) == 2
    printed = capsys.readouterr()
    assert "a, as of 2025-12-01" in printed.out
    assert "audiences.b.where.segment: expected a segment" in printed.err


def test_an_audience_without_customers_is_a_note_unless_it_was_asked_for(params, tmp_path: Path, capsys) -> None:
    vips = {"where": {"segment": "VIP"}}
    nobody = {"b": {"where": {"spend": {"min": 9999}}}, "d": {"where": {}, "exclude": {"audiences": ["everyone"]}}}
    params({"a": vips, **nobody, "everyone": {"where": {}}})
    arguments = ["audience", "--params", str(tmp_path / "params.yaml")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "a, as of 2025-12-01" in printed
    assert "Note            not written: audiences.b: no customer meets all conditions. Customers left: " in printed
    assert "Note            not written: audiences.d: the exclusions leave nobody." in printed
    assert not (tmp_path / "outputs" / "audiences" / "b.csv").exists()
    assert main([*arguments, "b"]) == 2
    assert "audiences.b: no customer meets all conditions" in capsys.readouterr().err
    params({"b": nobody["b"]})
    assert main(arguments) == 0


def test_scores_in_csv_give_the_same_list(params, scores, tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.csv", scores)
    where = {"segment": "VIP", "category": "Garden", "is_border": False, "days_since_last_purchase": {"max": 90}}
    lists = [
        ids_in(audience(params({"a": {"where": where}}, *more), AudienceOptions("a")).written[0].path)
        for more in ([], [f"outputs.scores={tmp_path / 'scores.csv'}"])
    ]
    assert lists[0] == lists[1] != []


def test_exclusions_by_list_consent_audience_and_contact(params, scores, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\n".join([*scores.customer_id[:50], "stranger"]), encoding="utf-8")
    (tmp_path / "ids.csv").write_text("name,customer_id\n" + "".join(f"x,{text}\n" for text in scores.customer_id[:50]))
    definitions = {
        "tier": {"where": {"value_tier": "vip"}},
        "a": {
            "where": {"segment": "VIP"},
            "exclude": {"ids": "ids.txt", "without_consent": True, "contacted_days": 7, "audiences": ["tier"]},
        },
        "b": {"where": {"segment": "VIP"}, "exclude": {"ids": "ids.csv"}},
    }
    made = audience(params(definitions, "contacts={path: contacts.csv}"), AudienceOptions("a")).written[0]
    agreed = np.array([place % 4 != 3 and place < N - 10 for place in range(N)])
    expected = scores[(scores.segment == "VIP") & agreed & (scores.value_tier != "vip") & (scores.index >= 50)]
    assert ids_in(made.path) == sorted(expected.customer_id)
    assert "1 id to exclude: not in the scores" in made.as_text()
    assert "not without consent" in made.as_text()
    sent = recently_contacted(tmp_path / "outputs", AS_OF + timedelta(days=3), 7)
    assert sent.customer_ids == set(expected.customer_id)
    write_scores(tmp_path / "scores.parquet", scores, AS_OF + timedelta(days=3))
    assert set(ids_in(audience(params(definitions), AudienceOptions("b")).written[0].path)) == set(
        scores.customer_id[(scores.segment == "VIP") & (scores.index >= 50)]
    )
    definitions["a"]["exclude"] = {"contacted_days": 7}
    again = audience(params(definitions), AudienceOptions("a")).written[0]
    contacted = set(expected.customer_id)
    assert set(ids_in(again.path)) == set(scores.customer_id[scores.segment == "VIP"]) - contacted


def test_a_tool_gets_addresses_and_two_customers_with_one_address_are_one_row(params, scores, tmp_path: Path) -> None:
    made = audience(params({"a": {"where": {}}}, "contacts={path: contacts.csv}"), AudienceOptions("a", tool="klaviyo"))
    text, path = made.as_text(), made.written[0].path
    assert path.name == "a-klaviyo.csv"
    assert pd.read_csv(path).Email.is_unique
    assert len(pd.read_csv(path)) == N - 10 - 1
    assert "1 customer left out: an earlier one has the same address" in text
    assert "10 customers without a usable address left out" in text
    assert re.search(r"Warning +\d+ have not agreed to be contacted", text)
    assert path.stat().st_mode & 0o077 == 0


def test_segments_that_are_gone_are_an_error_by_option_and_by_setting(params) -> None:
    assert "--segment: expected a segment of the scores, got 'Old', which is not one." in refusal(
        params(), segments=["Old"]
    )
    assert "--interest: expected a segment" in refusal(params(), interests=["Fish"])
    definitions = {"a": {"where": {}, "exclude": {"audiences": ["b"]}}, "b": {"where": {"segment": "Old"}}}
    assert "audiences.b.where.segment: expected a segment" in refusal(params(definitions), name="a")


def test_contradictory_conditions_are_refused_with_the_step_that_leaves_nobody(params) -> None:
    where = {"segment": "VIP", "segment_id": "s02"}
    message = refusal(params({"a": {"where": where}}), name="a")
    assert re.search(r"no customer meets all conditions\. .* segment is VIP: \d+; segment_id is s02: 0\.$", message)
    with pytest.raises(UserError, match=r"`audiences\.a\.where\.spend.*`: expected min at most max"):
        params({"a": {"where": {"spend": {"min": 3, "max": 1}}}})


@pytest.mark.parametrize("holdout", [1.0, -0.1, 7.0])
def test_a_holdout_of_everyone_is_refused(params, holdout: float) -> None:
    assert "expected a share of the audience" in refusal(params({"a": {"where": {}}}), name="a", holdout=holdout)


def test_a_holdout_of_zero_holds_out_nobody_and_says_that_no_effect_shows(params) -> None:
    definition = {"where": {"segment": "VIP"}, "holdout_share": 0.5}
    made = audience(params({"a": definition}), AudienceOptions("a", holdout=0.0))
    assert "Held out        0 customers\nCan show        no effect, as nobody is held out" in made.as_text()
    assert "Next" not in made.as_text()


def test_an_action_of_the_report_is_an_audience_without_any_setting(params, scores: pd.DataFrame) -> None:
    made = audience(params(), AudienceOptions("keep_vips", holdout=0.1)).written[0].audience
    is_in = (scores.value_tier == "vip") & scores.is_border
    assert set(made.table.customer_id) == set(scores.customer_id[is_in]) and made.count(HELD_OUT)
    assert made.table.spend.is_monotonic_decreasing
    # An audience of params.yaml with the same name comes first, and actions are not written unless they are named.
    own = params({"keep_vips": {"where": {"segment": "VIP"}}}, "outputs.folder=others")
    [written] = audience(own, AudienceOptions()).written
    assert len(written.audience.table) == (scores.segment == "VIP").sum()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "x"}, "there is no audience 'x'"),
        ({"name": "a", "segments": ["VIP"]}, "either NAME or --segment"),
        ({"name": "a", "limit": 0}, "--limit 0: expected a number of customers"),
        ({"name": "a", "tool": "pigeon"}, "--for pigeon: expected one of klaviyo"),
        ({"name": "a", "tool": "klaviyo"}, "contacts: expected a table"),
        ({"name": "a", "out": Path("list.txt")}, "ending in .csv or .parquet or .xlsx or .duckdb or .sqlite"),
        ({"out": Path("list.csv")}, "expected NAME, as a file holds one audience"),
        ({"name": "ids"}, "audiences.ids.exclude.ids: expected a file of customer ids"),
        ({"name": "consent"}, "contacts: expected a table"),
    ],
)
def test_bad_input_is_refused(params, tmp_path: Path, options: dict, message: str) -> None:
    definitions = {
        "a": {"where": {}},
        "ids": {"where": {}, "exclude": {"ids": "missing.csv"}},
        "consent": {"where": {}, "exclude": {"without_consent": True}},
    }
    assert message in refusal(params(definitions), **options)
    assert not list(tmp_path.glob("outputs/audiences/*.csv"))


def test_contacts_without_a_column_of_consent_are_refused_where_consent_is_asked_for(params, tmp_path: Path) -> None:
    (tmp_path / "contacts.csv").write_text("customer_id,email\n00001,a@shop.al\n", encoding="utf-8")
    asked = {"a": {"where": {}, "exclude": {"without_consent": True}}}
    message = refusal(params(asked, "contacts={path: contacts.csv}"), name="a")
    assert "exclude.without_consent: expected a column of consent" in message
    made = audience(params({"a": {"where": {}}}, "contacts={path: contacts.csv}"), AudienceOptions("a", tool="mautic"))
    assert "the contacts have no column of consent" in made.as_text()


def test_an_old_list_stays_where_the_new_one_cannot_be_made(params, tmp_path: Path) -> None:
    first = audience(params({"a": {"where": {"segment": "VIP"}}}), AudienceOptions("a")).written[0]
    before = first.path.read_bytes()
    refusal(params({"a": {"where": {"segment": "VIP", "spend": {"min": 9999}}}}), name="a")
    assert first.path.read_bytes() == before


def test_without_scores_the_next_command_is_named(params, tmp_path: Path) -> None:
    (tmp_path / "scores.parquet").unlink()
    assert "Run `kindred score` first" in refusal(params({"a": {"where": {}}}), name="a")
    (tmp_path / "scores.parquet").write_text("no scores")
    assert "Score again" in refusal(params({"a": {"where": {}}}), name="a")
