"""Categories of rare and unseen queries: hand-made cases in four languages, and ambiguous generated queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from models.queries import ABSTAINED, KEYBOARD, LEARNED, TEXT, WAYS, QueryModel, fit_query_model
from models.query_text import folded
from tests.hard_queries import PATHS as HARD_PATHS
from tests.hard_queries import Searches, hard_searches

CATS, DOGS, LAMPS, BOOKS = range(4)
LEARNED_TEXTS = {
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
    queries = [query for texts in LEARNED_TEXTS.values() for query in texts]
    categories = [category for category, texts in LEARNED_TEXTS.items() for _ in texts]
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
        ("toy for my cat", CATS, TEXT),
        ("миска для собак", DOGS, TEXT),
        ("шампунь для кошек", CATS, TEXT),
        ("ushqim i thatë për qen", DOGS, TEXT),
        ("catlitter", CATS, TEXT),
        ("floorlamps", LAMPS, TEXT),
        ("наповнюваччі", CATS, TEXT),
        ("ошейники", DOGS, TEXT),
        ("oshejniky", DOGS, TEXT),
        ("napovniuvach dlya kotiv", CATS, TEXT),
        ("llambe tavoline", LAMPS, TEXT),
        ("rere per mace", CATS, TEXT),
        ("jitqybr", DOGS, KEYBOARD),
        ("ифтефын тщмуд", BOOKS, KEYBOARD),
    ],
)
def test_query_categories(model: QueryModel, query: str, category: int, way: int) -> None:
    meanings = model.predict([query])
    assert meanings.probabilities[0].argmax() == category
    assert WAYS[meanings.way[0]] == WAYS[way]
    assert meanings.confidence[0] >= model.min_confidence


@pytest.mark.parametrize("query", ["zzqx", "", "42", "שלום עולם", "😀😀", "qwrtpsdfg" * 1_000, "select from where"])
def test_a_query_unlike_any_known_text_gets_no_category(model: QueryModel, query: str) -> None:
    meanings = model.predict([query])
    assert meanings.way[0] == ABSTAINED and meanings.confidence[0] == 0.0
    assert not meanings.probabilities.any()


def test_catalogue_names_cover_categories_without_learned_queries() -> None:
    """Queries use the catalogue's names, so a category without learned queries is found by its name."""
    names = ["cats", "dogs", "lighting", "novels", "parrots"]
    queries = [f"{name} {code}" for name in names[:4] for code in ("aq", "bw", "cx", "dv", "ez", "fy")]
    probabilities = np.repeat(np.eye(5)[:4], 6, axis=0) * 0.8
    model = fit_query_model(queries, probabilities, [(name,) for name in names], np.arange(5), min_confidence=0.5)
    meanings = model.predict(["parrots"])
    assert meanings.way[0] == TEXT
    assert meanings.probabilities[0].argmax() == 4


def test_probabilities_sum_to_at_most_one_and_counts_to_all_queries(model: QueryModel) -> None:
    rng = np.random.default_rng(0)
    words = sorted({word for texts in LEARNED_TEXTS.values() for query in texts for word in query.split()})
    queries = sorted({" ".join(rng.choice(words, rng.integers(1, 4))) for _ in range(500)})
    meanings = model.predict(queries)
    assert (meanings.probabilities >= 0).all() and (meanings.probabilities.sum(axis=1) <= 1 + 1e-12).all()
    assert ((meanings.confidence >= 0) & (meanings.confidence <= 1)).all()
    assert sum(meanings.counts().values()) == len(queries)


def test_a_higher_min_confidence_gives_fewer_answers() -> None:
    queries = ["toy for my cat", "floorlamps", "zzqx", "romance"]
    answered = [(fitted(limit).predict(queries).way != ABSTAINED).sum() for limit in (0.0, 0.6, 0.9, 1.0)]
    assert answered == sorted(answered, reverse=True) and answered[-1] == 0


def test_a_saved_and_loaded_model_predicts_the_same(model: QueryModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = QueryModel.load(tmp_path)
    queries = [*LEARNED_TEXTS[CATS], "floorlamps", "zzqx", "ошейники"]
    np.testing.assert_array_equal(again.predict(queries).probabilities, model.predict(queries).probabilities)
    (tmp_path / "again").mkdir()
    again.save(tmp_path / "again")
    for name in ("queries.json", "queries.npz"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    learned_only = fit_query_model(["cat"], np.array([[0.5]]), [], np.zeros(0, dtype=np.int64), min_confidence=0.5)
    learned_only.save(tmp_path)
    assert QueryModel.load(tmp_path).predict(["cat", "cats"]).way.tolist() == [LEARNED, ABSTAINED]
    model.save(tmp_path)
    with np.load(tmp_path / "queries.npz", allow_pickle=False) as arrays:
        assert len(arrays["weights"]) and arrays["weights"].dtype == np.float32


def test_the_order_of_queries_does_not_matter(model: QueryModel) -> None:
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
    new_queries = ["floorlamps", "toy for my cat", "ошейники"]
    np.testing.assert_array_equal(other.weights, model.weights)
    np.testing.assert_array_equal(
        other.predict(new_queries[::-1]).probabilities[::-1], model.predict(new_queries).probabilities
    )


def test_with_few_learned_queries_only_these_get_a_category() -> None:
    empty = fit_query_model([], np.zeros((0, 3)), [], np.zeros(0, dtype=np.int64), min_confidence=0.5)
    assert empty.predict(["cat"]).way.tolist() == [ABSTAINED]
    assert empty.predict([]).probabilities.shape == (0, 3)
    few = fit_query_model(["cat"], np.array([[0.5, 0.1]]), [("Cats",)], np.array([0]), min_confidence=0.0)
    assert few.predict(["cat", "cats"]).way.tolist() == [LEARNED, ABSTAINED]


def test_queries_without_letters_can_be_learned() -> None:
    marks = ["\u0301" * (place + 1) for place in range(30)]
    model = fit_query_model(marks, np.full((30, 2), 0.4), [("?",)], np.array([0]), min_confidence=0.0)
    assert model.predict(["cat", marks[3]]).way.tolist() == [ABSTAINED, LEARNED]


def test_with_one_category_every_known_text_gets_it() -> None:
    queries = [f"lamp {number}" for number in range(30)]
    model = fit_query_model(queries, np.full((30, 1), 0.8), [("Lamps",)], np.array([0]), min_confidence=0.5)
    meanings = model.predict(["lamps", "lamp 40", "שלום"])
    assert meanings.way.tolist() == [TEXT, TEXT, ABSTAINED]
    assert (meanings.probabilities[:2] > 0.4).all() and (meanings.probabilities[:2] <= 0.8).all()


def fit_hard_queries(made: Searches, min_confidence: float = 0.0, **changes: Any) -> QueryModel:
    rare = {"rare": made.rare, "rare_probabilities": made.rare_probabilities, "purity": made.purity, **changes}
    columns = np.arange(len(HARD_PATHS))
    return fit_query_model(made.known, made.probabilities, HARD_PATHS, columns, min_confidence=min_confidence, **rare)


@pytest.fixture(scope="module")
def hard() -> Searches:
    return hard_searches(7)


@pytest.fixture(scope="module")
def hard_model(hard: Searches) -> QueryModel:
    return fit_hard_queries(hard)


def right_by_coverage(confidence: Any, is_right: Any) -> Any:
    right = np.cumsum(is_right[np.argsort(-confidence, kind="stable")])
    counts = np.round(len(right) * np.arange(1, 11) / 10).astype(int)
    return right[counts - 1] / counts


@pytest.mark.parametrize("inverse_penalty", [1.0, 10.0])
def test_hard_queries_are_classified_as_well_as_by_regression(
    hard: Searches, hard_model: QueryModel, inverse_penalty: float
) -> None:
    """At every coverage level, accuracy matches TF-IDF of characters with logistic regression."""
    texts = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    baseline = make_pipeline(texts, LogisticRegression(C=inverse_penalty, max_iter=300))
    with threadpool_limits(limits=1):
        baseline.fit(hard.known, hard.probabilities.argmax(axis=1))
    chances = baseline.predict_proba(hard.unknown)
    theirs = right_by_coverage(chances.max(axis=1), baseline.classes_[chances.argmax(axis=1)] == hard.truth)
    meanings = hard_model.predict(hard.unknown)
    ours = right_by_coverage(meanings.confidence, meanings.probabilities.argmax(axis=1) == hard.truth)
    assert len(hard.unknown) > 5_000 and (ours >= theirs - 0.01).all(), (ours, theirs)
    assert ours.mean() > theirs.mean()


def calibration_error(confidence: Any, is_right: Any) -> float:
    """Mean absolute difference between confidence and accuracy, in ten equal bins."""
    bins = np.minimum((confidence * 10).astype(int), 9)
    gaps = [abs(confidence[bins == bin_].sum() - is_right[bins == bin_].sum()) for bin_ in range(10)]
    return float(sum(gaps) / len(bins))


def test_confidence_is_calibrated(hard: Searches, hard_model: QueryModel) -> None:
    meanings = hard_model.predict(hard.unknown)
    is_right = meanings.probabilities.argmax(axis=1) == hard.truth
    assert calibration_error(meanings.confidence, is_right) < 0.05
    assert abs(meanings.confidence.mean() - is_right.mean()) < 0.05


def test_without_rare_queries_the_confidence_is_calibrated_on_learned_ones() -> None:
    made = hard_searches(8, count=150_000)
    half = np.random.default_rng(0).permutation(len(made.known)) % 2 == 0
    columns = np.arange(len(HARD_PATHS))
    known = [query for query, is_kept in zip(made.known, half, strict=True) if is_kept]
    others = [query for query, is_kept in zip(made.known, half, strict=True) if not is_kept]
    model = fit_query_model(known, made.probabilities[half], HARD_PATHS, columns, min_confidence=0.0)
    meanings = model.predict(others)
    is_right = meanings.probabilities.argmax(axis=1) == made.probabilities[~half].argmax(axis=1)
    assert len(others) > 500 and abs(meanings.confidence.mean() - is_right.mean()) < 0.05


def test_saved_bytes_do_not_depend_on_threads_and_hold_no_rare_query(hard: Searches, tmp_path: Path) -> None:
    secret = "zaphod beeblebrox 5551234"
    rare, led_to = [*hard.rare, secret], np.concatenate([hard.rare_probabilities, hard.rare_probabilities[:1]])
    for threads in (1, 2):
        (tmp_path / str(threads)).mkdir()
        with threadpool_limits(limits=threads):
            fit_hard_queries(hard, rare=rare, rare_probabilities=led_to).save(tmp_path / str(threads))
    for name in ("queries.json", "queries.npz"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    kept = json.loads((tmp_path / "1" / "queries.json").read_text(encoding="utf-8"))
    assert kept["queries"] == sorted(hard.known) and "zaphod" not in json.dumps(kept)
    # Rare queries affect only the confidence calibration.
    with np.load(tmp_path / "1" / "queries.npz") as ours:
        other = fit_hard_queries(hard, rare=hard.rare[::2], rare_probabilities=hard.rare_probabilities[::2])
        for name in ("probabilities", "name_probabilities", "weights", "intercepts"):
            np.testing.assert_array_equal(ours[name], getattr(other, name))
        assert len(ours["knots"]) <= 22


def test_folded_texts() -> None:
    assert folded("Корм") == "korm" == folded("KORM")
    assert folded("ç'ështje") == "ceshtje"
    assert folded("ё") == folded("е")
    assert len(folded("a" * 10_000)) == 200


def test_an_empty_list_of_queries() -> None:
    model = fit_query_model(["lamp"], np.array([[0.9, 0.0]]), [["Home"]], np.array([0]), min_confidence=0.5)
    assert model.predict([]).probabilities.shape == (0, 2)
