"""What a query means that few people typed: by its words, its characters, or the names in the catalogue.

Each way compares the query with texts whose meaning is known, by the cosine of their TF-IDF vectors, and takes the mean
meaning of those that are near. How sure that is (the chance that the category it names first is the right one) is a
logistic of how near and how decided they are, fitted on learned queries, each left out in turn. Words or characters
decide, whichever is surer; where neither is, the query is read as if typed on the wrong keyboard, and then beside the
catalogue. A query of which no way is as sure as ``min_confidence`` has no meaning.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.optimize import minimize

from features.searches import APOSTROPHES, MAX_QUERY_LENGTH
from models.archive import save_arrays

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half; scikit-learn takes half a second
    from sklearn.pipeline import Pipeline

    from models.scorer import Floats, Ints

WAYS = ("learned", "words", "characters", "keyboard", "catalogue", "abstained")
LEARNED, WORDS, CHARACTERS, KEYBOARD, CATALOGUE, ABSTAINED = range(len(WAYS))
CALIBRATED = (WORDS, CHARACTERS, CATALOGUE)
NEVER_SURE = (-50.0, 0.0, 0.0)
PRIOR = np.array([2.0, 2.0, 2.0])
"""Calibration from nothing: odds of 7 to 1 for the same text with one meaning, falling with the square of each sign."""

SHARPNESS = {WORDS: 3.0, CHARACTERS: 6.0, CATALOGUE: 3.0}
"""Power of the cosine: how much more a near text says than a distant one."""
MAX_HELD_OUT = 3_000
MIN_HELD_OUT = 20
"""Learned queries below which nothing can be said of how sure a guess is: all others have no meaning then."""
BATCH = 1_000

# Ukrainian and Russian letters as people write them in Latin ones; й, ї and ё have lost their marks by then.
LATIN = str.maketrans(
    {
        **dict(zip("абвгґдезиіклмнопрстуфхыэє", "abvggdeziiklmnoprstufhiee", strict=True)),
        **{"ж": "zh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "sh", "ю": "iu", "я": "ia", "y": "i", "ь": "", "ъ": ""},
        **dict.fromkeys(APOSTROPHES, ""),
    }
)
KEYS = "qwertyuiop[]asdfghjkl;'zxcvbnm,."
LAYOUTS = ("йцукенгшщзхїфівапролджєячсмитьбю", "йцукенгшщзхъфывапролджэячсмитьбю")
WRONG_KEYBOARDS = tuple(
    str.maketrans(dict(zip(typed, meant, strict=True)))
    for typed, meant in ((KEYS, LAYOUTS[0]), (KEYS, LAYOUTS[1]), (LAYOUTS[0], KEYS), (LAYOUTS[1], KEYS))
)


def folded(query: str) -> str:
    """What is compared: compatible forms one (NFKC), no case, no accents, Cyrillic in Latin letters, words and blanks.

    Examples
    --------
    >>> folded("Корм  для КОТІВ!"), folded("Ushqim për mace"), folded("ﬁsh—tank")
    ('korm dlia kotiv', 'ushqim per mace', 'fish tank')
    """
    text = unicodedata.normalize("NFKD", query[:MAX_QUERY_LENGTH].casefold())
    text = "".join(letter for letter in text if not unicodedata.combining(letter)).translate(LATIN)
    return " ".join("".join(letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in text).split())


@dataclass(frozen=True)
class Meanings:
    """What queries mean.

    Attributes
    ----------
    probabilities : float array of shape (n_queries, n_categories)
        P(category | query); rows sum to at most 1, and to 0 where there is no meaning.
    confidence : float array of shape (n_queries,)
        Chance that the first category is the right one; 0 without a meaning, 1 for learned queries.
    way : int array of shape (n_queries,)
        Place in `WAYS`.
    """

    probabilities: Floats
    confidence: Floats
    way: Ints

    def counts(self) -> dict[str, int]:
        """Queries by way, every way named."""
        return dict(zip(WAYS, np.bincount(self.way, minlength=len(WAYS)).tolist(), strict=True))


@dataclass(frozen=True)
class _Texts:
    """Texts whose meaning is known, and how to find those near another."""

    vectorizer: Pipeline
    vectors: sparse.csr_matrix
    probabilities: Floats
    sharpness: float

    def near(self, texts: Sequence[str], leave_out: Ints | None = None) -> tuple[Floats, Floats]:
        """Mean meaning of what is near, and (cosine of the nearest, chance of the first category): (n, c), (n, 2).

        Parameters
        ----------
        leave_out : int array of shape (n,)
            For each text the one that it must not see: itself.
        """
        found = [self._near(texts[place : place + BATCH], leave_out, place) for place in range(0, len(texts), BATCH)]
        return np.concatenate([mean for mean, _ in found]), np.concatenate([signs for _, signs in found])

    def _near(self, texts: Sequence[str], leave_out: Ints | None, place: int) -> tuple[Floats, Floats]:
        cosine = (self.vectorizer.transform(texts) @ self.vectors.T).tocsr()
        if leave_out is not None:
            row = np.repeat(np.arange(len(texts)), np.diff(cosine.indptr))
            cosine.data[cosine.indices == leave_out[place : place + BATCH][row]] = 0.0
        nearest = cosine.max(axis=1).toarray().ravel()
        weight = cosine.power(self.sharpness)
        total = np.asarray(weight.sum(axis=1)).reshape(-1, 1)
        mean = np.divide(weight @ self.probabilities, total, out=np.zeros((len(texts), self.width)), where=total > 0)
        return mean, np.column_stack([nearest, mean.max(axis=1, initial=0.0)])

    @property
    def width(self) -> int:
        """Number of categories."""
        return int(self.probabilities.shape[1])


def _texts(way: int, texts: Sequence[str], probabilities: Floats) -> _Texts:
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.pipeline import make_pipeline

    by_word = {"analyzer": "word", "token_pattern": r"\S+"}
    by_character = {"analyzer": "char_wb", "ngram_range": (3, 3)}
    # Hashed, so that a word never seen counts in the length of a query, and "dog xyz" is not as near to "dog" as "dog".
    vectorizer = make_pipeline(
        HashingVectorizer(
            lowercase=False, norm=None, alternate_sign=False, **(by_word if way == WORDS else by_character)
        ),
        TfidfTransformer(sublinear_tf=True),
    )
    return _Texts(vectorizer, vectorizer.fit_transform(texts).tocsr(), probabilities, SHARPNESS[way])


@dataclass(frozen=True)
class QueryModel:
    """P(category | query) for every query.

    Attributes
    ----------
    queries : tuple of str
        Learned queries as `features.searches.normalised_query` gives them, sorted.
    probabilities : float array of shape (n_queries, n_categories)
    names : tuple of str
        Parts of the catalogue's paths, folded and sorted.
    name_probabilities : float array of shape (n_names, n_categories)
        Share of the paths with that name that lie in each category.
    calibration : float array of shape (3, 3)
        By way of `CALIBRATED`: intercept, weights of the logarithms of the cosine and of the first category's chance.
    min_confidence : float, 0 to 1
    """

    queries: tuple[str, ...]
    probabilities: Floats
    names: tuple[str, ...]
    name_probabilities: Floats
    calibration: Floats
    min_confidence: float
    _ready: dict[int, _Texts] = field(default_factory=dict, repr=False, compare=False)

    def predict(self, queries: Sequence[str]) -> Meanings:
        """What normalised ``queries`` mean."""
        shape = (len(queries), self.probabilities.shape[1])
        found = Meanings(np.zeros(shape), np.zeros(len(queries)), np.full(len(queries), ABSTAINED))
        place = {query: number for number, query in enumerate(self.queries)}
        known = np.array([place.get(query, -1) for query in queries], dtype=np.int64)
        is_known = known >= 0
        found.probabilities[is_known] = self.probabilities[known[is_known]]
        found.confidence[is_known], found.way[is_known] = 1.0, LEARNED
        texts = [folded(query) for query in queries]
        for way in (WORDS, CHARACTERS):
            self._back_off(found, way, way, texts)
        for keyboard in WRONG_KEYBOARDS:
            typed = [query.translate(keyboard) for query in queries]
            other = ["" if meant == query else folded(meant) for meant, query in zip(typed, queries, strict=True)]
            self._back_off(found, KEYBOARD, CHARACTERS, other)
        self._back_off(found, CATALOGUE, CATALOGUE, texts)
        return found

    def _back_off(self, found: Meanings, told_as: int, way: int, texts: Sequence[str]) -> None:
        """Fill in the queries of which this way is sure, and surer than the way before."""
        if not self.is_ever_sure(way):
            return
        asked = np.array([bool(text) for text in texts], dtype=bool) & (found.way != LEARNED)
        rows = np.flatnonzero(asked if told_as != CATALOGUE else asked & (found.way == ABSTAINED))
        if not len(rows):
            return
        mean, signs = self.known_texts(way).near([texts[row] for row in rows.tolist()])
        confidence = self.confidence(way, signs)
        is_sure = (confidence >= np.maximum(self.min_confidence, found.confidence[rows] + 1e-9)) & (signs[:, 1] > 0)
        sure = rows[is_sure]
        found.probabilities[sure] = confidence[is_sure, None] * mean[is_sure]
        found.confidence[sure], found.way[sure] = confidence[is_sure], told_as

    def is_ever_sure(self, way: int) -> bool:
        """Whether there was enough to learn from."""
        return bool(self.calibration[CALIBRATED.index(way), 0] != NEVER_SURE[0])

    def confidence(self, way: int, signs: Floats) -> Floats:
        """Chance of being right, from (cosine, chance of the first category) per row."""
        intercept, *weights = self.calibration[CALIBRATED.index(way)]
        chance: Floats = 1.0 / (1.0 + np.exp(-(intercept + _logs(signs) @ np.array(weights))))
        return chance

    def known_texts(self, way: int) -> _Texts:
        """The texts of a way, made ready when first asked for."""
        if way not in self._ready:
            if way == CATALOGUE:
                self._ready[way] = _texts(way, self.names, self.name_probabilities)
            else:
                self._ready[way] = _texts(way, [folded(query) for query in self.queries], self.probabilities)
        return self._ready[way]

    def save(self, folder: Path) -> None:
        """Write queries.json and queries.npz: the same bytes for the same content, and no pickle."""
        plain = {"queries": self.queries, "names": self.names, "min_confidence": self.min_confidence}
        (folder / "queries.json").write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")
        names = ("calibration", "name_probabilities", "probabilities")
        save_arrays(folder / "queries.npz", {name: getattr(self, name) for name in names})

    @staticmethod
    def load(folder: Path) -> QueryModel:
        """What `save` wrote."""
        plain = json.loads((folder / "queries.json").read_text(encoding="utf-8"))
        with np.load(folder / "queries.npz", allow_pickle=False) as arrays:
            return QueryModel(
                queries=tuple(plain["queries"]),
                probabilities=arrays["probabilities"],
                names=tuple(plain["names"]),
                name_probabilities=arrays["name_probabilities"],
                calibration=arrays["calibration"],
                min_confidence=plain["min_confidence"],
            )


def fit_query_model(
    queries: Sequence[str],
    probabilities: Floats,
    paths: Sequence[Sequence[str]],
    path_categories: Ints,
    *,
    min_confidence: float,
) -> QueryModel:
    """A model of learned queries and a catalogue; the same whatever their order.

    Parameters
    ----------
    queries : n distinct normalised queries
    probabilities : float array of shape (n, n_categories)
        P(category | query), rows summing to at most 1.
    paths : sequence of m sequences of str
        Parts of each path of the catalogue, from the root.
    path_categories : int array of shape (m,)
        Category that each path belongs to.
    """
    order = sorted(range(len(queries)), key=lambda place: queries[place])
    names, name_probabilities = _names(paths, path_categories, probabilities.shape[1])
    model = QueryModel(
        queries=tuple(queries[place] for place in order),
        probabilities=probabilities[order],
        names=names,
        name_probabilities=name_probabilities,
        calibration=np.full((len(CALIBRATED), 3), NEVER_SURE),
        min_confidence=min_confidence,
    )
    held_out = np.arange(0, len(queries), max(len(queries) // MAX_HELD_OUT, 1))
    texts = [folded(model.queries[place]) for place in held_out]
    if min_confidence >= 1.0 or len(held_out) < MIN_HELD_OUT or not any(texts):
        return model
    first = model.probabilities[held_out].argmax(axis=1)
    for number, way in enumerate(CALIBRATED if names else CALIBRATED[:-1]):
        mean, signs = model.known_texts(way).near(texts, None if way == CATALOGUE else held_out)
        model.calibration[number] = _calibration(signs, mean.argmax(axis=1) == first)
    return model


def _calibration(signs: Floats, is_right: np.ndarray) -> Floats:
    """Intercept and weights of the logistic, pulled toward `PRIOR`; never sure where hardly any was right."""
    is_guess = signs[:, 1] > 0
    signs, sided = _logs(signs[is_guess]), np.where(is_right[is_guess], 1.0, -1.0)
    if (sided > 0).sum() < MIN_HELD_OUT / 2:
        return np.array(NEVER_SURE)

    def loss(weights: Floats) -> float:
        margin = sided * (weights[0] + signs @ weights[1:])
        return float(np.logaddexp(0.0, -margin).sum() + 0.5 * ((weights - PRIOR) ** 2).sum())

    # What is like nothing must not be sure, even where the learned queries show no such case.
    fitted: Floats = minimize(loss, PRIOR, method="L-BFGS-B", bounds=[(None, None), (2.0, None), (1.0, None)]).x
    return fitted


def _logs(signs: Floats) -> Floats:
    return np.log(np.maximum(signs, 1e-9))


def _names(paths: Sequence[Sequence[str]], path_categories: Ints, n_categories: int) -> tuple[tuple[str, ...], Floats]:
    """Names of all levels, and for each the share of its paths that lie in each category."""
    pairs = sorted(
        {
            (folded(name), category, tuple(path))
            for path, category in zip(paths, path_categories.tolist(), strict=True)
            for name in path
        }
    )
    names = tuple(dict.fromkeys(name for name, _, _ in pairs if name))
    place = {name: number for number, name in enumerate(names)}
    found = np.zeros((len(names), n_categories))
    for name, category, _ in pairs:
        if name:
            found[place[name], category] += 1.0
    return names, found / np.maximum(found.sum(axis=1, keepdims=True), 1.0)
