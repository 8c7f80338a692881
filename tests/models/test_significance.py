from __future__ import annotations

from math import comb

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from models.significance import compare_counts, compare_means, shown_counts, with_q_values

NAMES = ["topic", "value", "segment_id", "customer_count"]


def counts_of(segments: np.ndarray, values: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = pd.DataFrame({"topic": "city", "value": values, "segment_id": segments})
    counts = rows.value_counts().rename("customer_count").reset_index()
    return counts, rows.groupby(["topic", "segment_id"]).size().rename("known_count").reset_index()


def test_counts_by_hand() -> None:
    counts = pd.DataFrame([("city", "Lviv", "a", 3), ("city", "Lviv", "b", 1)], columns=NAMES)
    known = pd.DataFrame([("city", "a", 4), ("city", "b", 6)], columns=["topic", "segment_id", "known_count"])
    compared = compare_counts(counts, known=known, min_group=1).set_index("segment_id")
    a = compared.loc["a"]
    assert (a.figure, a.shop, a.lift) == (0.75, 0.4, 1.875)
    # 3 or 4 of the 4 from Lviv among 4 drawn of 10.
    assert a.p_value == pytest.approx((comb(4, 3) * comb(6, 1) + comb(4, 4)) / comb(10, 4))
    assert compared.loc["b", "p_value"] == pytest.approx(1 - comb(4, 0) * comb(6, 6) / comb(10, 6))


def test_values_and_segments_too_small_to_be_shown_are_not_tested() -> None:
    counts, known = counts_of(
        np.repeat(["a", "b", "c"], [100, 100, 5]), np.array((["x"] * 9 + ["y"] * 11) * 10 + ["y"] * 5)
    )
    compared = compare_counts(counts, known=known, min_group=10)
    assert set(compared.segment_id) == {"a", "b"}


def test_correction_by_hand() -> None:
    compared = with_q_values(pd.DataFrame({"p_value": [0.01, 0.04, 0.03]}))
    assert compared.q_value.tolist() == pytest.approx([0.03, 0.04, 0.04])


def test_means_equal_welchs_t_test() -> None:
    generator = np.random.default_rng(1)
    values_of = {"a": generator.random(30), "b": generator.random(50) ** 2, "c": generator.random(40)}
    sums = pd.DataFrame(
        [("hour", "", name, len(v), v.sum(), (v**2).sum(), len(v)) for name, v in values_of.items()],
        columns=["topic", "value", "segment_id", "known_count", "total", "squares", "customer_count"],
    )
    compared = compare_means(sums).set_index("segment_id")
    others = np.concatenate([values_of["a"], values_of["c"]])
    assert compared.loc["b", "p_value"] == pytest.approx(
        stats.ttest_ind(values_of["b"], others, equal_var=False).pvalue
    )
    assert compared.loc["b", "shop"] == pytest.approx(np.concatenate([*values_of.values()]).mean())


def test_a_constant_figure_has_no_row() -> None:
    sums = pd.DataFrame({"topic": "hour", "value": "", "segment_id": ["a", "b"], "known_count": 9, "total": 9.0,
                         "squares": 9.0, "customer_count": 9})  # fmt: skip
    assert compare_means(sums).empty


def test_permuted_labels_keep_the_false_discovery_rate() -> None:
    generator = np.random.default_rng(5)
    segments = np.repeat(["a", "b", "c", "d"], 100)
    values = generator.choice(["x", "y", "z"], 400, p=[0.5, 0.3, 0.2])
    false = 0
    for _ in range(100):
        counts, known = counts_of(generator.permutation(segments), values)
        false += bool((compare_counts(counts, known=known, min_group=10).q_value <= 0.1).any())
    # Under the global null, the false discovery rate is the probability of any discovery.
    assert false <= stats.binom.ppf(0.999, 100, 0.1)
    assert false > 0


def test_permuted_means_keep_the_false_discovery_rate() -> None:
    generator = np.random.default_rng(6)
    shares = generator.beta(0.5, 1.5, (240, 5))
    false = 0
    for _ in range(100):
        segments = generator.permutation(np.repeat(["a", "b", "c"], 80))
        tables = []
        for hour in range(5):
            frame = pd.DataFrame({"total": shares[:, hour], "squares": shares[:, hour] ** 2, "known_count": 1})
            sums = frame.groupby(segments).sum().rename_axis("segment_id").reset_index()
            tables.append(sums.assign(topic="hour", value=str(hour), customer_count=sums.known_count))
        false += bool((compare_means(pd.concat(tables)).q_value <= 0.1).any())
    assert false <= stats.binom.ppf(0.999, 100, 0.1)


def test_a_planted_value_is_found() -> None:
    generator = np.random.default_rng(7)
    segments = np.repeat(["a", "b", "c"], 200)
    chance = np.where(segments == "b", 0.6, 0.3)
    counts, known = counts_of(segments, np.where(generator.random(600) < chance, "planted", "other"))
    compared = compare_counts(counts, known=known, min_group=10)
    significant = compared[(compared.q_value <= 0.05) & (compared.value == "planted")]
    assert significant.segment_id.tolist() == ["b"]


def shown(inside: list[tuple[str, str, int]], sizes: dict[str, int], *, reported: str = "abc") -> set[tuple[str, str]]:
    counts = pd.DataFrame([("t", value, segment, count) for value, segment, count in inside], columns=NAMES)
    known = pd.DataFrame(
        [("t", segment, size) for segment, size in sizes.items()], columns=["topic", "segment_id", "known_count"]
    )
    cells = compare_counts(counts, known=known, min_group=1)
    visible = shown_counts(cells, min_group=10, is_reported=cells.segment_id.isin(list(reported)))
    return set(zip(visible.value, visible.segment_id, strict=True))


@pytest.mark.parametrize(
    ("inside", "others", "is_shown"),
    [(10, 10, True), (9, 30, False), (91, 30, False), (30, 9, False), (30, 91, False), (90, 90, True)],
)
def test_a_cell_is_hidden_if_it_or_its_complement_is_small(inside: int, others: int, is_shown: bool) -> None:
    # Sizes of 100 each: in it, the rest of its segment, the rest of its value, and neither.
    visible = shown([("x", "a", inside), ("x", "b", others)], {"a": 100, "b": 100}, reported="a")
    assert (("x", "a") in visible) is is_shown


def test_no_small_group_can_be_found_by_subtraction() -> None:
    # The value has 60 customers: 30 in a, 25 in b, 5 in c. With a and b both shown, c would be 60 - 55.
    inside = [("x", "a", 30), ("x", "b", 25), ("x", "c", 5)]
    assert shown(inside, {"a": 100, "b": 100, "c": 100}) == {("x", "a")}
    # The same within a segment of 100: 50 of x, 45 of y, 5 of something else.
    inside = [("x", "a", 50), ("y", "a", 45), ("z", "a", 5), *((value, "b", 50) for value in "xyz")]
    assert shown(inside, {"a": 100, "b": 150}, reported="a") == {("x", "a")}
