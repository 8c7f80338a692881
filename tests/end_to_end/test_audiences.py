"""From a score to a list, to changes, and to what a campaign brought, on a simulated shop."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.control_groups import holdout_groups
from models.disclosure import rounded_count
from pipeline.audiences.build import HELD_OUT, SEND
from pipeline.audiences.effect import effect_by_facet, kept_effect, purchases
from pipeline.audiences.storage import stored_audiences
from pipeline.commands.actions.audience import AudienceOptions, audience
from pipeline.commands.actions.changes import changes
from pipeline.commands.actions.effect import effect
from pipeline.commands.score import score
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.ingest.source import read_source
from pipeline.stores import model_registry
from pipeline.stores.workspace import workspace

UNTIL = datetime(2025, 12, 1, tzinfo=UTC)
PLANTED = 0.12
EVERYONE = "audiences={everyone: {where: {}, holdout_share: 0.5}}"


@pytest.fixture
def scored(params: Callable[..., Params], champion: object) -> Params:
    """The shop scored on the day of the training, a month before its log ends, with a list of everyone."""
    made = params(EVERYONE)
    key = made.path(made.outputs.folder) / "audiences" / ".key"  # a random one would find an effect by chance at times
    key.parent.mkdir(parents=True)
    key.write_text("key of the tests")
    score(made, model_uri=made.tracking.champion_uri, out=made.path(made.outputs.scores), progress=SILENT)
    audience(made, AudienceOptions("everyone"))
    return made


def treated(params: Params) -> list[str]:
    (kept,) = stored_audiences(params.path(params.outputs.folder), "everyone")
    table = kept.table(["customer_id", "group"])
    return sorted(table.customer_id[table.group == SEND])


def with_purchases(params: Params, customers: list[str], folder: Path) -> Params:
    """The same shop, whose log has one more purchase of each of these customers."""
    events = pd.read_parquet(params.path(params.source.events.path))
    row = events[events.event_type == "purchase"].iloc[0]
    bought = pd.DataFrame([row] * len(customers)).assign(customer_id=customers, unit_price=30.0, quantity=1.0)
    bought["occurred_at"] = pd.Timestamp("2025-11-10", tz=events.occurred_at.dt.tz).as_unit(events.occurred_at.dt.unit)
    bought["order_id"] = [f"planted {customer}" for customer in customers]
    folder.mkdir()
    for name, frame in {"a": events, "b": bought.astype(events.dtypes)}.items():
        frame.to_parquet(folder / f"{name}.parquet")
    table = params.source.events.model_copy(update={"path": str(folder)})
    return params.model_copy(update={"source": params.source.model_copy(update={"events": table})})


def difference(text: str) -> tuple[float, float, float]:
    found = re.search(r"a difference of ([+-]?[\d.]+) points \(95% interval ([+-]?[\d.]+) to ([+-]?[\d.]+)\)", text)
    assert found, text
    return float(found[1]), float(found[2]), float(found[3])


def test_a_planted_effect_is_found_and_none_without_one(scored: Params, tmp_path: Path) -> None:
    nothing = effect(scored, "everyone", until=UNTIL)
    assert "This may be chance: no effect is shown." in nothing
    _, low, high = difference(nothing)
    assert low <= 0 <= high

    rng = np.random.default_rng(1)
    lucky = [customer for customer in treated(scored) if rng.random() < PLANTED]
    planted = effect(with_purchases(scored, lucky, tmp_path / "log"), "everyone", until=UNTIL)
    assert "The campaign made customers buy who would not have bought." in planted
    found, low, high = difference(planted)
    assert low <= 100 * PLANTED <= high + 1.5  # some of them bought anyway
    assert found > 5
    assert re.search(r"next time: send to \S", planted)
    assert re.search(r"The treated spent .* a difference of \+[\d.]+ ", planted)
    assert "of the variance out of this" in planted
    (kept,) = stored_audiences(scored.path(scored.outputs.folder), "everyone")
    read = kept_effect(kept)
    assert read is not None and read.overall.overall.buyers is not None
    assert round(100 * read.overall.overall.buyers.difference, 1) == found

    by_spend = effect(with_purchases(scored, lucky, tmp_path / "log again"), "everyone", until=UNTIL, decide_by="spend")
    assert by_spend.splitlines()[1].startswith("The treated spent")
    assert difference(by_spend)[0] == found


def test_splits_without_a_campaign_find_an_effect_as_often_as_chance_does(scored: Params) -> None:
    (kept,) = stored_audiences(scored.path(scored.outputs.folder), "everyone")
    table = kept.table()
    log = scored.model_copy(update={"as_of": UNTIL})
    with workspace(scored) as session:
        source = read_source(session.con, log, rejected_path=None, since=kept.as_of.replace(tzinfo=None))
        bought = purchases(session.con, source.events)
    found, found_in_spend = [], []
    for split in range(100):
        drawn = {"campaign": "everyone", "key": f"key {split}", "share": 0.5, "strata": table.segment_id}
        table["group"] = np.where(holdout_groups(table.customer_id, **drawn), HELD_OUT, SEND)
        effects = effect_by_facet(table, bought, has_spend=True, planned_share=0.5, min_group=10)
        overall = effects["segment"].overall
        found.append(overall.verdict != "not clear")
        found_in_spend.append(overall.spend is not None and overall.spend.p_value <= 0.05)
    for count in (sum(found), sum(found_in_spend)):
        assert count <= 12  # of 100 at 5%, chance finds more once in 700 times


def test_scores_of_a_later_day_change_and_keep_names(scored: Params) -> None:
    later = scored.model_copy(update={"as_of": datetime(2025, 11, 20, tzinfo=UTC)})
    out = scored.path(scored.outputs.scores)
    before = pd.read_parquet(out).set_index("customer_id")
    result = score(later, model_uri=scored.tracking.champion_uri, out=out, progress=SILENT)
    after = pd.read_parquet(out).set_index("customer_id")
    both = pd.DataFrame({"before": before.segment_id, "after": after.segment_id}).fillna("")
    moved = both.before != both.after
    assert result.changes is not None
    shown = rounded_count(moved.sum(), scored.naming.min_group)
    assert result.changes.by_column["segment_id"] == shown > 0
    assert f"{shown:,} segment" in result.as_text()
    list_path = out.with_name("changes.csv")
    changes(later, since=None, out=list_path, tags=False)
    listed = pd.read_csv(list_path, dtype=str).query("what == 'segment'").set_index("customer_id")
    assert set(listed.index) == set(both.index[moved])
    assert listed["to"].to_dict() == after.segment[listed.index].to_dict()


def test_what_cannot_be_measured_is_refused(scored: Params) -> None:
    def refusal(name: str, **options) -> str:
        with pytest.raises(UserError) as raised:
            effect(scored, name, **options)
        return str(raised.value)

    assert "an audience that `kindred audience` wrote (everyone)" in refusal("nobody", until=UNTIL)
    early = datetime(2025, 11, 1, tzinfo=UTC)
    assert "it was written for 2025-11-01T00:00:00Z" in refusal("everyone", until=early)
    assert "it was written for" in refusal("everyone", until=UNTIL, as_of=datetime(2025, 10, 1, tzinfo=UTC))
    next(stored_audiences(scored.path(scored.outputs.folder), "everyone")).path.unlink()
    audience(scored, AudienceOptions("everyone", holdout=0.0))
    assert "nobody was held out" in refusal("everyone", until=UNTIL)


def test_small_groups_have_no_figures_and_a_short_log_a_warning(scored: Params) -> None:
    next(stored_audiences(scored.path(scored.outputs.folder), "everyone")).path.unlink()
    audience(scored, AudienceOptions("everyone", limit=60))
    text = effect(scored, "everyone", until=datetime(2025, 12, 20, tzinfo=UTC))
    assert "The effect is not shown: too few buyers." in text
    assert "too few customers or buyers to say" in text
    assert "the log ends on 2025-11-30" in text
    assert not re.search(r"\d%", text.replace("95%", ""))


def test_a_name_given_after_the_scores_asks_for_new_ones(scored: Params) -> None:
    scores = pd.read_parquet(scored.path(scored.outputs.scores), columns=["segment_id", "segment"])
    segment_id, name = scores[scores.segment_id.str.match(r"s\d")].iloc[0]
    with workspace(scored) as session:
        model_registry.set_given_name(session.store, segment_id, "Stars")
    with pytest.raises(UserError) as raised:
        audience(scored, AudienceOptions(segments=["Stars"]))
    message = f"{segment_id} was given this name after these scores, which call it {name!r}: score again."
    assert message in str(raised.value)
    score(scored, model_uri=scored.tracking.champion_uri, out=scored.path(scored.outputs.scores), progress=SILENT)
    with pytest.raises(UserError, match=f"It is {segment_id}, which is called 'Stars' now"):
        audience(scored, AudienceOptions(segments=[name]))
    assert len(audience(scored, AudienceOptions(segments=["Stars"])).written) == 1
