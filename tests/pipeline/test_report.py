from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from pipeline.params import load_params
from pipeline.report.plots import figures
from pipeline.report.render import render
from pipeline.report.summarise import FIGURES, as_markdown, number, summarise
from pipeline.report.tables import counted, lineage_table, lineage_text
from pipeline.segments import Segments

NAMING = load_params(Path(__file__).parents[2] / "params.yaml").naming


def segment(segment_id: str, name: str, **changes: Any) -> dict[str, Any]:
    figures = {"customer_count": 100.0, "buyer_share": 0.5, "stage_active_share": 1.0, "evening_share": 0.6}
    return {
        **{"segment_id": segment_id, "name": name, "is_standing": segment_id.startswith("standing-")},
        **{"customer_count": 100, "customer_share": 0.5, "spend_share": 0.5, "is_small": False, "figures": figures},
        **{"top_categories": [], "evidence": [], "stability": 0.8, "is_stable": True, "playbook": {"en": "Write."}},
        "stability_word": "stable",
        "rule": {"text": "at least 3 orders", "precision": 0.75, "coverage": 0.5},
        **changes,
    }


def summary(*segments: dict[str, Any]) -> dict[str, Any]:
    clustered = [one["segment_id"] for one in segments if not one["is_standing"]]
    lifts = pd.DataFrame({"a": 1.5, "b": np.nan}, index=clustered)
    return summarise(
        as_of=datetime(2025, 11, 1, tzinfo=UTC),
        language="en",
        run_id="run",
        reading={
            **{"read_count": 10, "accepted_count": 10, "rejected_count": 0, "duplicate_count": 0},
            **{"duplicates_dropped": False, "rejected_by_rule": {}, "noted_by_rule": {}},
        },
        segments=list(segments),
        shop={"buyer_share": 0.25},
        lifts=lifts,
        labels={"a": "Cats", "b": "Dogs"},
        lineage={"trainings": [], "rows": []},
        customer_count=200,
        clustered_count=100,
        quality={
            "algorithm": "kmeans",
            "choice_reason": "",
            "stability": 0.8,
            "silhouette": 0.1,
            "rules_fidelity": 0.8,
            "notes": [],
        },
    )


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL).split())


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        (0.0, "share", "0%"), (0.0001, "share", "<0.1%"), (0.031, "share", "3.1%"), (0.0996, "share", "10%"),
        (1234.5, "money", "1,234"), (0.0, "number", "0"), (1.26, "number", "1.3"), (None, "number", "–"),
    ],
)  # fmt: skip
def test_numbers_as_people_read_them(value: float | None, form: str, expected: str) -> None:
    assert number(value, form) == expected


def test_one_is_not_many() -> None:
    told = [counted(count, "order") for count in (0, 1, 1.0, 1.5, 2_000, 12_345_678.0)]
    assert told == ["0 orders", "1 order", "1 order", "1.5 orders", "2,000 orders", "12,345,678 orders"]


def test_every_figure_that_names_a_segment_has_its_words() -> None:
    asked = {figure for one in NAMING.archetypes for figure in one.when} | {one.figure for one in NAMING.traits}
    assert asked <= set(FIGURES)


def test_a_small_group_is_told_in_a_line_and_without_figures() -> None:
    small = segment("standing-active", "Quiet buyers", customer_count=2, is_small=True, figures={}, stability=None)
    page = text_of(render(summary(segment("s01", "VIP"), small)))
    assert "Too few customers to say more of them: Quiet buyers (2)." in page
    assert page.count("Write.") == 1


def test_proofs_in_words() -> None:
    evidence = [
        {"figure": "spend_per_customer", "value": 300.0, "shop": 100.0, "nearest_like": 150.0, "condition": {}},
        {"figure": "interest: Cats", "value": 0.5, "shop": 0.2, "customer_count": 40, "condition": {}},
    ]
    page = text_of(render(summary(segment("s01", "VIP", evidence=evidence))))
    assert "300 spent per customer; the shop: 100; the nearest alike: 150" in page
    assert "50% of their interest is Cats; the shop: 20%" in page


def test_a_log_without_prices_or_hours_says_nothing_of_them() -> None:
    figures = {"customer_count": 100.0, "average_order_value": 0.0, "night_share": 1.0}
    page = text_of(render(summary(segment("s01", "VIP", spend_share=0.0, figures=figures))))
    assert "spend" not in page
    assert "Average order" not in page
    assert "Most visits" not in page


def test_a_lift_that_few_customers_show_is_a_dash() -> None:
    told = summary(segment("s01", "VIP"))
    assert [cell["text"] for cell in told["heat_map"]["rows"][0]["cells"]] == ["1.5", "–"]
    assert "Cats Dogs VIP 1.5 –" in text_of(render(told))


def test_markdown_is_escaped() -> None:
    told = as_markdown(summary(segment("s01", "VIP · <b>a|b</b>_c_")))
    assert r"| VIP · &lt;b>a\|b&lt;/b>\_c\_ | 100 |" in told


def test_a_log_without_categories_has_no_map_of_interests() -> None:
    found = Segments(
        [segment("s01", "VIP")], {}, pd.DataFrame(index=["s01"]), {}, cast(Any, None), np.array(["s01"]), 1.0
    )
    fitted = SimpleNamespace(space=np.zeros((1, 2)), is_clustered=np.array([True]))
    assert list(figures(found, cast(Any, fitted), seed=1)) == ["segment_sizes", "value_by_segment", "map"]


def test_an_unstable_segment_is_marked_wherever_it_is_named() -> None:
    shaky = {"stability": 0.4, "is_stable": False, "stability_word": "unstable"}
    told = summary(segment("s01", "VIP"), segment("s02", "Rare visitors", **shaky))
    text = text_of(render(told))
    assert text.count("Rare visitors (unstable)") == text.count("Rare visitors") == 3  # the table, its card, the map
    assert "Unstable: found again to 40% when parts of the customers are clustered anew." in text
    assert text.count("Write.") == 1
    assert "Rare visitors (unstable)" in as_markdown(told)
    assert "1 of 2 segments come back" in text


def lineage(run: str, segment_id: str, verdict: str, akin: list[str], **more: Any) -> dict[str, Any]:
    day = {"a": "2025-11-01 00:00", "b": "2025-12-01 00:00"}[run]
    row = {"run_id": run, "as_of": day, "segment_id": segment_id, "verdict": verdict, "akin": akin}
    return {"is_here": True, "jaccard": None, **row, **more}


LINEAGE = [
    lineage("a", "s01", "new", [], name="VIP"),
    lineage("a", "s02", "new", [], name="Lost"),
    lineage("b", "s01", "survived", ["s01"], jaccard=0.756, name="Best"),
    lineage("b", "s03", "split", ["s02"], name="Lapsed"),
    lineage("b", "s02", "gone", [], is_here=False),
]


def test_what_became_of_segments() -> None:
    assert lineage_text(LINEAGE[:2]) == ""
    assert lineage_text(LINEAGE).splitlines() == [
        "Segments over trainings          2025-11-01  2025-12-01",
        "s01                      Best    new         same, 0.76",
        "s02                      Lost    new         gone",
        "s03                      Lapsed              part of s02",
    ]
    told = summary(segment("s01", "Best")) | {"lineage": lineage_table(LINEAGE)}
    assert "Best s01 new same, 0.76 Lost s02 new gone Lapsed s03 part of s02" in text_of(render(told))
    assert "over trainings" not in render(summary(segment("s01", "Best")))
