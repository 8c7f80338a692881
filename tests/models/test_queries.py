"""What rare and unseen queries are taken for: by hand-made cases in four languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.queries import (
    ABSTAINED,
    CATALOGUE,
    CHARACTERS,
    KEYBOARD,
    LEARNED,
    WAYS,
    WORDS,
    QueryModel,
    fit_query_model,
    folded,
)

CATS, DOGS, LAMPS, BOOKS = range(4)
LEARNT = {
    CATS: [
        "cat food", "wet cat food", "cat litter", "cat toy", "kitten food", "scratching post for cat",
        "корм для котів", "вологий корм для котів", "наповнювач для котів", "іграшка для котів",
        "корм для кошек", "наполнитель для кошек", "лоток для кошек", "когтеточка для кошек",
        "ushqim për mace", "lodër për mace", "rërë për mace",
    ],
    DOGS: [
        "dog food", "dry dog food", "dog lead", "dog toy", "puppy food for dog", "dog bed",
        "корм для собак", "сухий корм для собак", "лежак для собак", "шампунь для собак",
        "поводок для собак", "ошейник для собак", "ushqim për qen", "lodër për qen", "shtrat për qen",
    ],
    LAMPS: [
        "desk lamp", "floor lamp", "table lamp", "bedside lamp", "настільна лампа", "лампа для спальні",
        "настольная лампа", "лампа для спальни", "llambë tavoline", "llambë dyshemeje",
    ],
    BOOKS: [
        "crime novel", "fantasy novel", "детектив роман", "історичний роман", "фантастика роман",
        "роман о любви", "roman policor", "roman historik", "historical novel", "short novel",
    ],
}  # fmt: skip
PATHS = [("Pets", "Cats", "Food"), ("Pets", "Dogs", "Leads"), ("Home", "Lighting"), ("Books", "Crime novels")]


def learned() -> tuple[list[str], Any]:
    queries = [query for texts in LEARNT.values() for query in texts]
    categories = [category for category, texts in LEARNT.items() for _ in texts]
    probabilities = np.full((len(queries), 4), 0.05)
    probabilities[np.arange(len(queries)), categories] = 0.7
    return queries, probabilities


def fitted(min_confidence: float = 0.5) -> QueryModel:
    return fit_query_model(*learned(), PATHS, np.arange(4), min_confidence=min_confidence)


@pytest.fixture(scope="module")
def model() -> QueryModel:
    return fitted()


@pytest.mark.parametrize(
    ("query", "category", "way"),
    [
        ("cat food", CATS, LEARNED),
        ("toy for my cat", CATS, WORDS),
        ("миска для собак", DOGS, WORDS),
        ("шампунь для кошек", CATS, WORDS),
        ("ushqim i thatë për qen", DOGS, WORDS),
        ("catlitter", CATS, CHARACTERS),
        ("floorlamps", LAMPS, CHARACTERS),
        ("наповнюваччі", CATS, CHARACTERS),
        ("ошейники", DOGS, CHARACTERS),
        ("oshejniky", DOGS, CHARACTERS),
        ("napovniuvach dlya kotiv", CATS, WORDS),
        ("llambe tavoline", LAMPS, WORDS),
        ("rere per mace", CATS, WORDS),
        ("jitqybr", DOGS, KEYBOARD),
        ("ифтефын тщмуд", BOOKS, KEYBOARD),
    ],
)
def test_what_a_query_is_taken_for(model: QueryModel, query: str, category: int, way: int) -> None:
    found = model.predict([query])
    assert found.probabilities[0].argmax() == category
    assert WAYS[found.way[0]] == WAYS[way]
    assert found.confidence[0] >= model.min_confidence


@pytest.mark.parametrize("query", ["zzqx", "", "42", "שלום עולם", "😀😀", "qwrtpsdfg" * 1_000, "select from where"])
def test_what_is_like_nothing_has_no_meaning(model: QueryModel, query: str) -> None:
    found = model.predict([query])
    assert found.way[0] == ABSTAINED and found.confidence[0] == 0.0
    assert not found.probabilities.any()


def test_names_of_the_catalogue_speak_for_what_nobody_learned() -> None:
    """Queries named as the catalogue names things; a category without any learned query is found by its name."""
    names = ["cats", "dogs", "lighting", "novels", "parrots"]
    queries = [f"{name} {code}" for name in names[:4] for code in ("aq", "bw", "cx", "dv", "ez", "fy")]
    probabilities = np.repeat(np.eye(5)[:4], 6, axis=0) * 0.8
    model = fit_query_model(queries, probabilities, [(name,) for name in names], np.arange(5), min_confidence=0.5)
    found = model.predict(["parrots"])
    assert found.way[0] == CATALOGUE
    assert found.probabilities[0].argmax() == 4


def test_chances_sum_to_at_most_one_and_counts_to_all(model: QueryModel) -> None:
    rng = np.random.default_rng(0)
    words = sorted({word for texts in LEARNT.values() for query in texts for word in query.split()})
    queries = sorted({" ".join(rng.choice(words, rng.integers(1, 4))) for _ in range(500)})
    found = model.predict(queries)
    assert (found.probabilities >= 0).all() and (found.probabilities.sum(axis=1) <= 1 + 1e-12).all()
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
    assert sum(found.counts().values()) == len(queries)


def test_surer_is_fewer() -> None:
    queries = ["toy for my cat", "floorlamps", "zzqx", "romance"]
    told = [(fitted(limit).predict(queries).way != ABSTAINED).sum() for limit in (0.0, 0.6, 0.9, 1.0)]
    assert told == sorted(told, reverse=True) and told[-1] == 0


def test_saved_and_loaded_it_says_the_same(model: QueryModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = QueryModel.load(tmp_path)
    queries = [*LEARNT[CATS], "floorlamps", "zzqx", "ошейники"]
    np.testing.assert_array_equal(again.predict(queries).probabilities, model.predict(queries).probabilities)
    (tmp_path / "again").mkdir()
    again.save(tmp_path / "again")
    for name in ("queries.json", "queries.npz"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    with np.load(tmp_path / "queries.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["calibration", "name_probabilities", "probabilities"]


def test_order_changes_nothing(model: QueryModel) -> None:
    queries, probabilities = learned()
    order = np.random.default_rng(1).permutation(len(queries))
    paths = np.array([2, 0, 3, 1])
    other = fit_query_model(
        [queries[place] for place in order],
        probabilities[order],
        [PATHS[place] for place in paths],
        paths,
        min_confidence=0.5,
    )
    asked = ["floorlamps", "toy for my cat", "ошейники"]
    np.testing.assert_array_equal(other.calibration, model.calibration)
    np.testing.assert_array_equal(other.predict(asked[::-1]).probabilities[::-1], model.predict(asked).probabilities)


def test_with_nothing_or_little_learned_only_what_was_learned_means_something() -> None:
    nobody = fit_query_model([], np.zeros((0, 3)), [], np.zeros(0, dtype=np.int64), min_confidence=0.5)
    assert nobody.predict(["cat"]).way.tolist() == [ABSTAINED]
    assert nobody.predict([]).probabilities.shape == (0, 3)
    few = fit_query_model(["cat"], np.array([[0.5, 0.1]]), [("Cats",)], np.array([0]), min_confidence=0.0)
    assert few.predict(["cat", "cats"]).way.tolist() == [LEARNED, ABSTAINED]


def test_queries_without_letters_can_be_learned() -> None:
    marks = ["\u0301" * (place + 1) for place in range(30)]
    model = fit_query_model(marks, np.full((30, 2), 0.4), [("?",)], np.array([0]), min_confidence=0.0)
    assert model.predict(["cat", marks[3]]).way.tolist() == [ABSTAINED, LEARNED]


def test_folded_texts() -> None:
    assert folded("Корм") == "korm" == folded("KORM")
    assert folded("ç'ështje") == "ceshtje"
    assert folded("ё") == folded("е")
    assert len(folded("a" * 10_000)) == 200


def test_nobody_asked_anything() -> None:
    model = fit_query_model(["lamp"], np.array([[0.9, 0.0]]), [["Home"]], np.array([0]), min_confidence=0.5)
    assert model.predict([]).probabilities.shape == (0, 2)
