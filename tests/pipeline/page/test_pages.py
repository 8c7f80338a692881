"""Figures of the page equal a query on the scores, and no id is where it may not be."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import ibis
import pandas as pd
import pyarrow as pa
import pytest

from pipeline.audiences.build import build_audience
from pipeline.audiences.changes import CHANGE_COLUMNS, keep_changes, score_changes
from pipeline.audiences.storage import store
from pipeline.commands.actions.serve import page_server
from pipeline.config.errors import UserError
from pipeline.config.load import load_params
from pipeline.config.sections.audiences import AudienceParams
from pipeline.page.wording import SegmentTexts, segment_texts
from tests.conftest import PARAMS
from tests.pipeline.page.conftest import Client, N, keep_campaign, made_up_scores, write_scores

LANGUAGES = ("en", "uk", "ru", "sq")


def plain(html: str) -> str:
    """The text of a page, with one space between words."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def in_cats(categories: list[str]) -> bool:
    return any("Cats" in path.split(" > ") for path in categories)


def test_the_overview_has_the_figures_of_the_scores(page: Client) -> None:
    text, scores = plain(page.get("/en/").text), page.scores
    assert f"{N:,} customers" in text and f"{scores.spend.sum():,.0f} spent in the period, before returns" in text
    carts = scores[scores.journey_events.str.len() > 0]
    assert f"{carts.spend.sum():,.0f} · {len(carts)} customers" in text
    assert "kindred audience remind_of_carts" in text


def test_each_monday_list_opens_with_the_same_headcount(page: Client) -> None:
    cards = re.findall(r'<li class="card">(.*?)</li>', page.get("/en/").text, re.DOTALL)
    assert 3 <= len(cards) <= 5
    for card in cards:
        link, count = re.search(r'href="(/en/audience\?[^"]+)"', card), re.search(r"([\d,]+) customers", card)
        assert link and count
        assert f"{count[1]} customers" in plain(page.get(unescape(link[1])).text.partition("result")[2])


def test_segments_have_their_figures_and_few_customers_have_none(page: Client) -> None:
    text, scores = page.get("/en/segments").text, page.scores
    rows = dict(re.findall(r'<tr><th scope="row"><a [^>]+>(.*?)</a></th>(.*?)</tr>', text, re.DOTALL))
    vip = scores[scores.segment == "VIP"]
    assert plain(rows["VIP"]).split()[0] == f"{len(vip):,}" and f"{vip.spend.sum():,.0f}" in plain(rows["VIP"])
    assert re.fullmatch(r"7 0\.\d% – – –", plain(rows["Few"]))
    assert sum(" – – –" in plain(row) for row in rows.values()) == 2, (
        "one hidden segment would be the rest of the total"
    )


def test_the_crossing_counts_both_facets_without_groups_by_rule(page: Client) -> None:
    text, scores = page.get("/en/crossing").text, page.scores
    table = plain(text.partition("<table")[2])
    count = len(scores[(scores.segment == "VIP") & (scores.interest_segment == "Toys")])
    assert f" {count:,} " in table and "Long gone" not in table and "Interests not known" not in table
    few = re.search(r'<tr><th scope="row">Cats</th>(.*?)</tr>', text, re.DOTALL)
    assert few and plain(few[1]).split()[-1] == "–"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("view", ["", "segments", "crossing", "audience", "changes", "campaigns", "customer"])
def test_views_are_in_each_language_and_escaped(page: Client, language: str, view: str) -> None:
    answer = page.get(f"/{language}/{view}")
    assert answer.status == 200 and f'<html lang="{language}">' in answer.text
    assert "<b>lost" not in answer.text and "page." not in plain(answer.text)
    assert not re.search(r"<script|style=|https?://|\bon\w+=", answer.text)
    if view == "segments" and language != "en":
        assert "Lapsed" not in plain(answer.text) and "VIP" in answer.text


QUERIES = {
    "segment=VIP": lambda s: s.segment == "VIP",
    "segment=VIP&segment=Few&temperature=hot": lambda s: s.segment.isin(["VIP", "Few"]) & (s.temperature == "hot"),
    "category=Cats": lambda s: s.top_categories.map(in_cats),
    "category=Cats&value_tier=vip&spend.min=100": lambda s: (
        s.top_categories.map(in_cats) & (s.value_tier == "vip") & (s.spend >= 100)
    ),
    "spend.min=10,5&spend.max=200": lambda s: s.spend.between(10.5, 200),
    "journey_events=left_cart&is_border=True": lambda s: s.is_border & (s.journey_events.str.len() > 0),
    "order_count.max=0": lambda s: s.order_count <= 0,
    "next_tier=vip&lifecycle_stage=active&lifecycle_stage=lapsed": lambda s: (
        (s.next_tier == "vip") & s.lifecycle_stage.isin(["active", "lapsed"])
    ),
    "unknown=1": lambda s: s.spend >= 0,
}


@pytest.mark.parametrize("query", QUERIES)
def test_the_builder_counts_and_lists_what_a_query_on_the_scores_finds(page: Client, query: str) -> None:
    expected = page.scores[QUERIES[query](page.scores)]
    result = plain(page.get(f"/en/audience?{query}").text.partition('class="total">')[2])
    assert result.startswith(f"{len(expected):,} customers")
    assert f"spent {expected.spend.sum():,.0f}" in result
    fields = {name: value.split("|") for name, value in (part.split("=") for part in merged(query))}
    answer = page.post("/en/audience.csv", **fields)
    listed = pd.read_csv(io.StringIO(answer.text))
    assert answer.headers["content-disposition"] == 'attachment; filename="kindred-audience-2025-12-01.csv"'
    assert sorted(listed.customer_id.str.removeprefix("'")) == sorted(expected.customer_id)


def merged(query: str) -> list[str]:
    """The fields of a query, with several values of one joined by a bar."""
    values: dict[str, list[str]] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        values.setdefault(name, []).append(value)
    return [f"{name}={'|'.join(several)}" for name, several in values.items()]


def test_options_count_what_ticking_them_would_list(page: Client) -> None:
    text = page.get("/en/audience?segment=VIP&temperature=warm&spend.min=50").text
    counts = re.findall(r'name="(\w+)" value="([^"]*)"[^>]*> <span>[^<]*</span> <span class="count">([^<]+)<', text)
    assert len(counts) > 10
    base = page.scores[page.scores.spend >= 50]
    for column, value, shown in counts:
        others = {"segment": "VIP", "temperature": "warm"}
        others.pop(column, None)
        rows = base[base[column] == unescape(value)]
        for other, kept in others.items():
            rows = rows[rows[other] == kept]
        assert unescape(shown) == ("<10" if 0 < len(rows) < 10 else f"{len(rows):,}"), (column, value)


def test_an_audience_of_few_customers_has_no_figures(page: Client) -> None:
    text = plain(page.get("/en/audience?segment=Few").text.partition("result")[2].partition("Conditions")[0])
    text = re.sub(r"--set \S+", "", text)  # names of folders may hold any figure
    assert "<10 Fewer than 10 customers: no figures are shown." in text and "spent" not in text and "7" not in text


def test_an_audience_without_customers_says_so(page: Client) -> None:
    assert "No customer meets all the conditions" in page.get("/en/audience?segment=Few&spend.min=99999").text
    assert page.post("/en/audience.csv", segment="Few", **{"spend.min": "99999"}).status == 404


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("spend.min=x", "Spent in the period, before returns: enter a number."),
        ("spend.min=nan", "Spent in the period, before returns: enter a number."),
        ("spend.min=2&spend.max=1", "“at least” is larger than “at most”"),
        ("limit=0", "enter a whole number of at least 1"),
        ("limit=1.5", "enter a whole number of at least 1"),
    ],
)
def test_fields_that_cannot_be_read_are_named(page: Client, query: str, message: str) -> None:
    answer = page.get(f"/en/audience?{query}")
    assert answer.status == 200 and message in plain(answer.text)


def test_the_list_is_ordered_limited_and_safe_in_a_spreadsheet(page: Client) -> None:
    answer = page.post("/en/audience.csv", order_by="-spend", limit="5", segment="VIP")
    listed = pd.read_csv(io.StringIO(answer.text))
    best = page.scores[page.scores.segment == "VIP"].sort_values(["spend", "customer_id"], ascending=[False, True])
    assert [*listed.customer_id] == [*best.customer_id[:5]] and [*listed.position] == [1, 2, 3, 4, 5]
    assert '\n"\'=cmd|calc"' in page.post("/en/audience.csv").text


def test_a_customer_is_posted_and_never_in_an_address(page: Client, capfd) -> None:
    row = page.scores[page.scores.segment == "VIP"].iloc[0]
    answer = page.post("/en/customer", customer_id=f" {row.customer_id} ")
    text = plain(answer.text)
    assert answer.status == 200 and "Segment by behaviour VIP" in text
    assert "Strength of membership" in text and f"Spent in the period, before returns {row.spend:,.0f}" in text
    assert not re.search(rf'(?:href|action)="[^"]*{row.customer_id}', answer.text)
    asked = page.get(f"/en/customer?{urlencode({'customer_id': row.customer_id})}")
    assert "Segment by behaviour" not in asked.text
    assert capfd.readouterr() == ("", "")


def test_a_segment_has_its_rule_and_what_to_do(page: Client) -> None:
    row = page.scores[page.scores.segment == "Lapsed & <b>lost</b>"].iloc[0]
    for text in (
        plain(page.post("/en/customer", customer_id=row.customer_id).text),
        plain(page.get(f"/en/audience?{urlencode({'segment': row.segment})}").text),
    ):
        assert "Rule of thumb. Fewer than 3 actions; lifecycle stage: lapsed. Lapsed & <b>lost</b>: write." in text


@pytest.mark.parametrize("content", ["", "{}", "[{}]", '[{"names": {"en": "VIP"}, "playbook": {}, "rule": {"x": 1}}]'])
def test_segments_of_another_version_have_no_texts(tmp_path: Path, content: str) -> None:
    path = tmp_path / "segments.json"
    path.write_text(content, encoding="utf-8")
    assert segment_texts(path) == segment_texts(tmp_path / "none.json") == SegmentTexts()


def test_groups_by_rule_have_no_strength(page: Client) -> None:
    scores = page.scores
    row = scores[(scores.segment == "Long gone") & (scores.interest_segment == "Interests not known")].iloc[0]
    assert "Strength" not in plain(page.post("/en/customer", customer_id=row.customer_id).text)


def test_a_missing_table_of_ids_is_reported_until_it_is_there(serve_here, tmp_path: Path) -> None:
    links = tmp_path / "links.csv"
    with serve_here(made_up_scores(), f"source.identities={{path: {links}}}") as client:
        for _ in range(2):
            answer = client.post("/en/customer", customer_id="device-1")
            assert answer.status == 503 and "device-1" not in answer.text
            assert answer.text.startswith("kindred: source.identities.path: expected")
        links.write_text("customer_id,alias_id\nc00007,device-1\n", encoding="utf-8")
        answer = client.post("/en/customer", customer_id="device-1")
        assert answer.status == 200


def test_an_unknown_customer_is_not_found_and_others_are_not_named(page: Client) -> None:
    answer = page.post("/en/customer", customer_id="c0000")
    assert answer.status == 404 and "There is no customer with this ID" in answer.text
    assert not re.search(r"c0\d{4}", answer.text)
    assert page.post("/en/customer", customer_id='"><b>').text.count('"><b>') == 0


def test_the_scores_are_read_again_when_they_are_replaced(serve_here, tmp_path: Path) -> None:
    frame = made_up_scores()
    with serve_here(frame) as client:
        assert "2,000 customers" in plain(client.get("/en/").text)
        write_scores(tmp_path / "new.parquet", frame.head(1500), datetime(2026, 1, 1, tzinfo=UTC))
        (tmp_path / "new.parquet").replace(tmp_path / "scores.parquet")
        text = plain(client.get("/en/").text)
        assert "1,500 customers" in text and "1 January 2026" in text
        (tmp_path / "scores.parquet").unlink()
        assert "1,500 customers" in plain(client.get("/en/").text)


def test_scores_of_one_facet_without_money(serve_here) -> None:
    frame = made_up_scores().drop(columns=["spend", *[c for c in made_up_scores() if c.startswith("interest_")]])
    with serve_here(frame) as client:
        for view in ("", "segments", "audience?segment=VIP"):
            assert client.get(f"/en/{view}").status == 200
        assert "only one kind of segment" in client.get("/en/crossing").text
        assert "Ranked by the number of customers" in client.get("/en/").text


def test_expected_spend_and_probability_are_shown_with_their_days(serve_here) -> None:
    frame = made_up_scores()
    frame["expected_spend"], frame["buy_probability"] = frame.spend / 8, frame.order_count / 10
    with serve_here(frame, "backtest.horizon_days=45") as client:
        total = f"{frame.expected_spend.sum():,.0f}"
        overview = plain(client.get("/en/").text)
        assert f"{total} expected to be spent in 45 days" in overview
        assert "what these customers are expected to spend in 45 days" in overview
        chosen = frame[(frame.segment == "VIP") & frame.expected_spend.ge(20) & frame.buy_probability.le(0.3)]
        query = "segment=VIP&expected_spend.min=20&buy_probability.max=0.3"
        result = plain(client.get(f"/en/audience?{query}").text.partition('class="total">')[2])
        assert result.startswith(f"{len(chosen)} customers")
        assert f"are expected to spend {chosen.expected_spend.sum():,.0f} in 45 days" in result
        row = chosen.iloc[0]
        text = plain(client.post("/en/customer", customer_id=row.customer_id).text)
        assert f"Probability of an order {row.buy_probability:.0%}" in text and "Expected to spend" in text


def test_a_shop_without_categories_offers_none_as_a_condition(serve_here, page) -> None:
    field = '<select id="category"'
    assert field in page.get("/en/audience").text
    frame = made_up_scores()
    none = pd.array([[]] * len(frame), dtype=pd.ArrowDtype(pa.list_(pa.string())))
    with serve_here(frame.assign(top_categories=none)) as client:
        assert field not in client.get("/en/audience").text


def test_changes_and_campaigns_of_the_outputs_folder(serve_here, tmp_path: Path) -> None:
    frame = made_up_scores()
    with serve_here(frame) as client:
        assert "There are no changes yet" in client.get("/en/changes").text
        assert "No audience has been written yet" in client.get("/en/campaigns").text
        con = ibis.duckdb.connect()
        before = frame.copy()
        moved = before.segment_id.eq("s1") & (before.index < 200)
        before.loc[moved, "segment_id"] = "s2"
        before.loc[before.index[-3:], "value_tier"] = "difficult"
        write_scores(tmp_path / "before.parquet", before, datetime(2025, 11, 1, tzinfo=UTC))
        now = con.read_parquet(tmp_path / "scores.parquet")
        changes = score_changes(con, con.read_parquet(tmp_path / "before.parquet"), now)
        joined = pa.table({column: [None] for column in CHANGE_COLUMNS}).to_pandas().loc[[0] * 12]
        joined = joined.assign(column="audience:vips", after="vips", customer_id=[f"c{number}" for number in range(12)])
        changed = con.to_pyarrow(changes)
        changed = pa.concat_tables([changed, pa.Table.from_pandas(joined, changed.schema, preserve_index=False)])
        keep_changes(tmp_path / "outputs", changed, datetime(2025, 12, 1, tzinfo=UTC))
        definition = AudienceParams(where={"segment": "VIP"}, holdout_share=0.1)
        audience = build_audience(con, now, "vips", {"vips": definition}, key="k", separator=" > ")
        store(tmp_path / "outputs", audience, model_uri="models:/kindred/1")
        con.disconnect()
        text = plain(client.get("/en/changes").text)
        assert f"Lapsed & <b>lost</b> VIP {moved.sum()}" in text
        assert "Value tier Only moves of fewer than 10 customers, which are not shown." in text
        assert "Audience: vips Before Now Customers not in the scores or not known vips 12" in text
        assert plain(client.get("/en/changes?as_of=../../x").text) == text
        campaigns = plain(client.get("/en/campaigns").text)
        assert f"vips 1 Dec 2025 {audience.count('send')} {audience.count('held_out')}" in campaigns
        assert "kindred effect vips --until 2025-12-31" in campaigns and "Whom to send to" not in campaigns


def test_a_measured_campaign_shows_what_it_brought_and_whom_to_send_next(serve_here, tmp_path: Path) -> None:
    with serve_here(made_up_scores()) as client:
        measured = keep_campaign(tmp_path / "outputs", client.scores)
        text = plain(client.get("/en/campaigns").text)
        buyers, spend = measured.overall.overall.buyers, measured.overall.overall.spend
        assert buyers and spend
        assert "spring 1 Nov 2025 to 1 Dec 2025 The campaign made customers buy who would not have bought." in text
        bounds = f"+{100 * buyers.low:.1f} to +{100 * buyers.high:.1f}"
        means = f"Bought {buyers.treated:.1%} {buyers.held_out:.1%}"
        assert f"{means} +{100 * buyers.difference:.1f} points {bounds}" in text
        means = f"Spent per customer {spend.treated:.2f} {spend.held_out:.2f}"
        assert f"{means} +{spend.difference:.2f} +{spend.low:.2f} to +{spend.high:.2f}" in text
        behaviour = text.partition("Segment by behaviour")[2].partition("All figures")[0]
        groups = measured.by_facet["segment"].segments
        sent = [str(group.segment) for group in groups if group.verdict == "send"]
        assert sent and f"Send: {' ; '.join(sent)}" in behaviour
        hidden = [group for group in groups if group.buyers is None]
        assert len(hidden) == 2 and behaviour.endswith("for figures: 2 ")
        figures = text.partition("All figures: Segment by behaviour")[2].partition("Segment by interest")[0]
        assert not re.search(r"\bFew\b", figures)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bought": (0.15, 0.3)}, "The campaign kept customers from buying."),
        ({"bought": (0.2, 0.2)}, "No effect on buyers is shown: the difference may be chance."),
        ({"decide_by": "spend"}, "The campaign made customers spend more."),
        ({"bought": (0.001, 0.3)}, "The effect is not shown: one of the groups has too few customers or buyers."),
        ({"planned_share": 0.1}, "Customers are missing from one of the two groups, so no verdict is given."),
    ],
)
def test_what_a_campaign_brought_in_one_sentence(serve_here, tmp_path: Path, options, sentence: str) -> None:
    with serve_here(made_up_scores()) as client:
        keep_campaign(tmp_path / "outputs", client.scores, **options)
        text = plain(client.get("/en/campaigns").text)
        assert sentence in text
        assert ("Customers are missing" in text) == ("planned_share" in options)
        assert ("Send:" in text) == (options.get("decide_by") == "spend")


def test_an_audience_without_a_control_group_has_no_command(serve_here, tmp_path: Path) -> None:
    with serve_here(made_up_scores()) as client:
        keep_campaign(tmp_path / "outputs", client.scores)
        con = ibis.duckdb.connect()
        now = con.read_parquet(tmp_path / "scores.parquet")
        everyone = {"vips": AudienceParams(where={"segment": "VIP"})}
        store(tmp_path / "outputs", build_audience(con, now, "vips", everyone, key="k", separator=" > "), model_uri="")
        con.disconnect()
        rows = plain(client.get("/en/campaigns").text.partition('id="written"')[2])
        assert "cannot be measured, as nobody was held out" in rows and "kindred effect vips" not in rows
        assert "kindred effect spring --until 2025-12-01" in rows


@pytest.mark.parametrize(
    ("file", "message"), [("none.parquet", "Run `kindred score` first"), ("a.csv", "Parquet scores")]
)
def test_without_scores_the_command_says_what_to_do(tmp_path: Path, file: str, message: str) -> None:
    params = load_params(PARAMS, [f"outputs.folder={tmp_path}", f"outputs.scores={tmp_path / file}"])
    with pytest.raises(UserError, match=message), page_server(params, port=0):
        pass


def test_a_port_in_use_is_named(page: Client) -> None:
    with (
        pytest.raises(UserError, match="expected a free port"),
        page_server(page.params, port=page.access.port),
    ):
        pass
