from __future__ import annotations

import re
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
import yaml

from models.explanations import is_share
from models.naming import LANGUAGES
from models.segment_metrics import FIGURES
from pipeline.cli import main
from pipeline.report.parts.quality import Validity
from pipeline.report.parts.segment import Condition, ConditionsRule, Evidence, StageRule, UnknownInterestsRule
from pipeline.report.texts.cards import evidence_texts
from pipeline.report.texts.formats import number
from pipeline.report.texts.languages import TEXTS, read_texts
from pipeline.report.texts.predictions import predictions
from pipeline.report.texts.rules import conditions_text
from pipeline.report.texts.wording import wording


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        (0.0, "share", "0%"), (0.0001, "share", "<0.1%"), (0.031, "share", "3.1%"), (0.0996, "share", "10%"),
        (1234.5, "money", "1,234"), (0.0, "number", "0"), (1.26, "number", "1.3"), (None, "number", "–"),
    ],
)  # fmt: skip
def test_numbers_are_formatted_for_readers(value: float | None, form: str, expected: str) -> None:
    assert number(value, form) == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_audiences_of_the_report_are_distinguished_from_lists_by_category(language: str) -> None:
    assert "kindred audience --category" in wording(language)("audiences.intro")


def test_the_size_of_a_small_group_is_a_bound() -> None:
    words = wording("en")
    assert [words.size(10, is_small=is_small) for is_small in (True, False)] == ["<10", "10"]


def test_numbers_and_dates_in_the_format_of_the_language() -> None:
    formatted = [
        (wording(language).number(1234.5, "money"), wording(language).times(2.1), wording(language).date("2025-11-01"))
        for language in LANGUAGES
    ]
    assert formatted == [
        ("1,234", "2.1", "1 November 2025"),
        ("1\xa0234", "2,1", "1 листопада 2025\u202fр."),
        ("1\xa0234", "2,1", "1 ноября 2025\u202fг."),
        ("1\xa0234", "2,1", "1 nëntor 2025"),
    ]


def test_amounts_with_currency_in_the_format_of_the_language() -> None:
    formatted = [
        (wording(language, code).number(1234.5, "money"), wording(language, code).number(9.5, "money"))
        for language, code in zip(LANGUAGES, ("GBP", "UAH", "RUB", "ALL"), strict=True)
    ]
    assert formatted == [
        ("£1,234", "£9.50"),
        ("1\xa0234\xa0₴", "9,50\xa0₴"),
        ("1\xa0234\xa0₽", "9,50\xa0₽"),
        ("1\xa0234\xa0Lekë", "9,50\xa0Lekë"),
    ]
    assert wording("uk", "UAH").number(12.0) == "12,0"


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["0 orders", "1 order", "2 orders", "5 orders", "11 orders", "21 orders"]),
        ("uk", ["0 замовлень", "1 замовлення", "2 замовлення", "5 замовлень", "11 замовлень", "21 замовлення"]),
        ("ru", ["0 заказов", "1 заказ", "2 заказа", "5 заказов", "11 заказов", "21 заказ"]),
        ("sq", ["0 porosi", "1 porosi", "2 porosi", "5 porosi", "11 porosi", "21 porosi"]),
    ],
)
def test_plurals(language: str, expected: list[str]) -> None:
    assert [wording(language)("count.order", count=count) for count in (0, 1, 2, 5, 11, 21)] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda texts: texts.pop("heading"), "missing or unexpected: \\['heading'\\]"),
        (lambda texts: texts["count"]["order"].pop("few"), "count.order: expected the plural forms"),
        (lambda texts: texts.update(title="без дати"), "title: expected the placeholders"),
    ],
    ids=["key", "plural", "placeholder"],
)
def test_a_missing_text_is_an_error_at_load(change: Any, message: str, tmp_path: Path) -> None:
    copy(TEXTS / "en.yaml", tmp_path)
    texts = yaml.safe_load((TEXTS / "uk.yaml").read_text(encoding="utf-8"))
    change(texts)
    (tmp_path / "uk.yaml").write_text(yaml.safe_dump(texts, allow_unicode=True), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_texts("uk", tmp_path)


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_text_is_translated(language: str) -> None:
    english, texts = read_texts("en"), read_texts(language)
    names = {"VIP", "RFM", "2×", "; "}
    same = {
        key
        for key, text in texts.items()
        if text == english[key] and re.search("[A-Za-z]{2}", re.sub("{.*?}", "", str(text)))
    }
    assert {str(texts[key]) for key in same} <= names


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_figure_that_can_name_a_segment_has_a_label(language: str) -> None:
    assert {name for name in FIGURES if wording(language).figure(name) == name.replace("_", " ")} == set()


def conditions(*bounds: tuple[str, bool, float]) -> ConditionsRule:
    return ConditionsRule(
        conditions=[
            Condition(column=column, is_above=is_above, bound=bound, is_share=is_share(column), label="Cats")
            for column, is_above, bound in bounds
        ],
        **{"precision": 0.9, "coverage": 0.6},
    )


RULE = conditions(
    ("order_count", True, 2.0),
    ("order_count", False, 0.0),
    ("view_count", False, 1.0),
    ("event_count", False, 1200.0),
    ("days_since_last_event", True, 98.0),
    ("interest: Pets > Cats", True, 0.14),
    ("evening_share", False, 0.5),
    ("channel: app", True, 0.2),
    ("price_level", True, 1.3),
)


def test_rules_as_text() -> None:
    assert conditions_text(RULE, wording("en")).split("; ") == [
        "at least 3 orders",
        "no orders",
        "at most 1 view",
        "at most 1,200 actions",
        "not seen in the last 98 days",
        "more than 14% of interest in Cats",
        "at most 50% of visits in the evening",
        "more than 20% of visits via app",
        "price level (1 = usual) over 1.3",
    ]
    assert conditions_text(RULE, wording("uk")).split("; ")[:5] == [
        "щонайменше 3 замовлення",
        "без замовлень",
        "щонайбільше 1 перегляд",
        "щонайбільше 1\xa0200 дій",
        "не заходили останні 98 днів",
    ]


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["visits per week over 1", "visits per week at most 0.97"]),
        ("uk", ["візитів на тиждень – понад 1", "візитів на тиждень – не більше ніж 0,97"]),
        ("ru", ["визитов в неделю — более 1", "визитов в неделю — не более 0,97"]),
        ("sq", ["vizita në javë: më shumë se 1", "vizita në javë: jo më shumë se 0,97"]),
    ],
)
def test_fractional_numbers_need_no_grammatical_agreement(language: str, expected: list[str]) -> None:
    rules = [conditions(("visits_per_week", *bound)) for bound in ((True, 1.0), (False, 0.97))]
    assert [conditions_text(rule, wording(language)) for rule in rules] == expected


def test_dates_are_in_the_shops_time_zone() -> None:
    """Midnight in UTC is the previous evening in New York; a plain date is the same everywhere."""
    there = wording("en", timezone="America/New_York")
    for moment in ("2025-11-01 00:00 UTC", "2025-11-01T00:00:00", "2025-11-01 00:00:00.5", "2025-11-01 00:00:00+00:00"):
        assert (there.date(moment), wording("en").date(moment)) == ("31 October 2025", "1 November 2025")
    assert there.date("2025-11-01") == "1 November 2025"


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "30 December 2017, 19:00"),
        ("uk", "30 грудня 2017 р., 19:00"),
        ("ru", "30 декабря 2017 г., 19:00"),
        ("sq", "30 dhjetor 2017, 19:00"),
    ],
)
def test_an_as_of_that_is_not_local_midnight_has_a_time(language: str, expected: str) -> None:
    there, here = (wording(language, timezone=zone) for zone in ("America/New_York", "UTC"))
    assert " ".join(there.moment("2017-12-31 00:00 UTC").split()) == expected
    assert here.moment("2017-12-31 00:00 UTC") == here.date("2017-12-31")
    assert there.moment("2017-12-31 05:00 UTC") == there.moment("2017-12-31") == here.date("2017-12-31")


def test_evidence_that_looks_like_the_average_is_left_out() -> None:
    same, different = (Evidence(figure="buyer_share", value=value, shop=1.0) for value in (0.9999, 0.7))
    compared = Evidence(figure="buyer_share", value=0.9999, shop=1.0, nearest_peer=0.5)
    words = wording("en")
    assert evidence_texts([same, different], words) == ["Have ordered: 70% (all segmented customers: 100%)"]
    assert evidence_texts([same], words) == []
    assert len(evidence_texts([compared, different], words)) == 2


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "Cats: 52% of their interest (6.0% on average); top category for 81% of them"),
        ("uk", "Cats: 52% їхнього інтересу (у середньому 6,0%); головна категорія для 81% із них"),
        ("ru", "Cats: 52% их интереса (в среднем 6,0%); главная категория для 81% из них"),
        ("sq", "Cats: 52% e interesit të tyre (mesatarisht 6,0%); kategoria kryesore për 81% prej tyre"),
    ],
)
def test_evidence_of_an_interest_segment(language: str, expected: str) -> None:
    item = Evidence(figure="interest: Cats", value=0.52, shop=0.06, customer_count=90, first_share=0.81)
    assert [" ".join(text.split()) for text in evidence_texts([item], wording(language))] == [expected]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_rule_of_unknown_interests(language: str) -> None:
    words = wording(language)
    text = conditions_text(UnknownInterestsRule(min_evidence=2.0, min_events=3, precision=1.0, coverage=1.0), words)
    assert words("count.event", count=3) in text and text != words("count.event", count=3)


def test_a_facet_without_a_label_keeps_its_own_name_among_the_predictors() -> None:
    figure = {"mean": 0.7, "low": 0.6, "high": 0.8}
    validity = {
        **{
            "cutoff": "2025-10-02 00:00",
            "horizon_days": 30,
            "customer_count": 9,
            "buyer_count": 3,
            "group_count": 4,
            "ceiling_count": 9,
        },
        **{"rows": {name: {"buys_auc": figure} for name in ("segments", "habits", "rfm")}, "kept": {}},
    }
    both, single = (
        predictions(Validity.model_validate({**validity, "facets": facets}), wording("en"))
        for facets in (["habits", "interest"], ["habits"])
    )
    assert both is not None and single is not None
    assert [name for name, _ in both.rows][:2] == ["Segments by behaviour and interest together", "habits"]
    assert [name for name, _ in single.rows][:2] == ["Segments", "RFM quintiles, clustered"]


def test_figures_about_few_customers_of_a_segment_are_left_out() -> None:
    shop = {"abandoned_cart_share": 0.4, "discount_share": 0.2, "visits_per_customer": 3.0}
    own = {"abandoned_cart_share": 0.9, "cart_user_share": 0.04, "discount_share": 0.5, "visits_per_customer": 1.2}
    rows = {
        min_share: wording("en").differing_figures(shop, own, shop, min_share=min_share) for min_share in (0.0, 0.1)
    }
    assert [name for name, *_ in rows[0.0]] == list(shop)
    # Discounts are kept: the share of customers with orders is unknown here.
    assert [name for name, *_ in rows[0.1]] == ["discount_share", "visits_per_customer"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_rule_of_a_lifecycle_stage(language: str) -> None:
    rule = StageRule(stage="first_order", min_events=3, with_noise=False, precision=1.0, coverage=1.0)
    text = conditions_text(rule, wording(language))
    assert wording(language)("stage.first_order") in text
    assert "3" in text
    by_orders = conditions_text(rule.model_copy(update={"min_orders": 2}), wording(language))
    assert wording(language)("count.order", count=2) in by_orders


def test_the_language_of_a_training_is_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    languages: list[str] = []
    result = type("Result", (), {"as_text": lambda self: ""})()
    monkeypatch.setattr(
        "pipeline.commands.train.train", lambda params, **options: languages.append(params.language) or result
    )
    file = str(Path(__file__).parents[3] / "params.yaml")
    assert main(["train", "--params", file, "--language", "sq"]) == 0
    assert main(["train", "--params", file, "--set", "language=uk"]) == 0
    assert languages == ["sq", "uk"]
