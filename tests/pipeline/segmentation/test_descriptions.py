"""The parts of a segment's description: its row, and the segments of the model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from models.cluster_settings import FacetIdentity
from models.explanations import Condition, Rule
from models.published_segments import FigureTables, published_segment
from models.segment_names import Naming
from models.segments import Segment
from pipeline.config.facets import Facet, facets_of
from pipeline.config.load import load_params
from pipeline.segmentation.cluster import FacetClusters
from pipeline.segmentation.descriptions.facet_model import model_segment
from pipeline.segmentation.descriptions.rows import describe_segment
from tests.conftest import PARAMS
from tests.segments import names_of

CONFIG = load_params(PARAMS)
BEHAVIOUR, INTEREST = facets_of(CONFIG)
FIGURES = {
    **{"customer_count": 40.0, "customer_share": 0.4, "spend_share": 0.5, "buyer_share": 0.5, "cart_user_share": 0.5},
    **{"events_per_customer": 2.0, "days_since_last_event": 90.0},
}
SHOP = {"events_per_customer": 20.0, "days_since_last_event": 30.0}
RULE = Rule((Condition("interest: Pets > Cats", is_above=True, bound=0.3),), precision=0.9, coverage=0.8)


def clusters_of(facet: Facet) -> FacetClusters:
    fitted: Any = SimpleNamespace(
        stability={0: 0.5, 1: 0.9},
        clusters=SimpleNamespace(model={"noise": "standing"}),
        segment_id=lambda cluster: f"s{cluster + 1:02}",
        facet=FacetIdentity("behaviour", "s", "noise"),
    )
    return FacetClusters(SimpleNamespace(), fitted, CONFIG, facet)  # type: ignore[arg-type]


def described(segment_id: str, naming: Naming | None = None, facet: Facet = BEHAVIOUR, **figures: float) -> Segment:
    return describe_segment(
        segment_id,
        clusters=clusters_of(facet),
        naming=naming,
        figures=FIGURES | figures,
        shop=SHOP,
        interests=(),
        rule=RULE,
        labels={"Pets > Cats": "Cats"},
    )


def test_the_row_of_a_cluster() -> None:
    stable, unstable = (described(segment_id, Naming(names_of("VIP"))) for segment_id in ("s02", "s01"))
    assert (stable.is_stable, unstable.is_stable, unstable.stability_word) == (True, False, "unstable")
    assert stable.rule is not None and stable.rule.conditions is not None
    (condition,) = stable.rule.conditions
    assert (condition.label, condition.is_share, stable.rule.precision) == ("Cats", True, 0.9)
    assert "Cats" in stable.rule.text


def test_a_small_segment_shows_its_size_alone() -> None:
    min_group = CONFIG.naming.min_group
    small = described("s02", Naming(names_of("VIP")), customer_count=min_group - 1.0, buyer_share=1.0, night_share=0.0)
    assert small.is_small and small.rule is None
    table = pd.DataFrame(small.figures, index=["s02"])
    shown = published_segment(small, FigureTables(table, table, shop=SHOP), min_group)
    assert set(shown.figures) == {"customer_count", "customer_share"} and shown.spend_share is None


@pytest.mark.parametrize(("facet", "group"), [(BEHAVIOUR, "lost"), (INTEREST, "unknown")])
def test_a_rule_based_group_shows_how_inactive_it_is_and_its_rule(facet: Facet, group: str) -> None:
    segment = described(f"standing-{group}", facet=facet)
    assert [(item.figure, item.value, item.shop) for item in segment.evidence] == [
        ("events_per_customer", 2.0, 20.0),
        ("days_since_last_event", 90.0, 30.0),
    ]
    assert segment.is_rule_based and segment.stability is None and segment.is_stable
    assert segment.rule is not None and segment.rule.conditions is None
    assert (segment.rule.stage, segment.rule.with_noise) == (("lost", True) if facet is BEHAVIOUR else (None, None))
    assert segment.rule.min_events == facet.settings.min_events


def test_the_model_holds_names_by_figures_because_given_names_may_change() -> None:
    naming = Naming(names_of("Regulars").with_given("Friends"), is_broad=True)
    segment = model_segment(1, clusters_of(BEHAVIOUR), {"s02": naming}, {"s01": 1, "s02": 0})
    expected = {"cluster_id": 1, "segment_id": "s02", "name": "Regulars", "is_stable": True, "is_broad": True}
    assert segment == {**expected, "value_rank": 0}
    noise = model_segment(-1, clusters_of(BEHAVIOUR), {}, {})
    assert noise == {"cluster_id": -1, "segment_id": None, "name": None, "is_stable": True}


def test_a_segment_that_nobody_was_in_has_the_highest_value_rank() -> None:
    empty = model_segment(0, clusters_of(BEHAVIOUR), {}, {"s02": 0, "s03": 1})
    assert (empty["segment_id"], empty["value_rank"]) == ("s01", 2)
