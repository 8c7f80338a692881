"""Ways to guess the category of a query: Kindred's, the neighbours' votes that it had before, and TF-IDF with regression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize
from search_beds import Bed
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

from models.queries import fit_query_model
from models.query_text import folded

Guess = tuple[np.ndarray, np.ndarray]
"""The category of each unknown query, and the confidence in it: 0 is none."""


def kindred(bed: Bed) -> Guess:
    """The model as it is."""
    model = fit_query_model(
        bed.known, bed.probabilities, bed.paths, bed.path_categories,
        min_confidence=0.0, rare=bed.rare, rare_probabilities=bed.rare_probabilities, purity=bed.purity,
    )  # fmt: skip
    found = model.predict(bed.unknown)
    return found.probabilities.argmax(axis=1), found.confidence


def regression(kind: str, inverse_penalty: float) -> Callable[[Bed], Guess]:
    """Multinomial logistic regression of TF-IDF: of characters (2 to 5 within words), words, or both."""

    def guess(bed: Bed) -> Guess:
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
        words = TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True)
        texts = {"characters": characters, "words": words, "both": make_union(characters, words)}[kind]
        model = make_pipeline(texts, LogisticRegression(C=inverse_penalty, max_iter=300))
        model.fit(bed.known, bed.probabilities.argmax(axis=1))
        chances = model.predict_proba(bed.unknown)
        return model.classes_[chances.argmax(axis=1)], chances.max(axis=1)

    return guess


def neighbours(bed: Bed) -> Guess:
    """The fall-back of before: votes of near learned queries, by words or by characters, whichever is surer."""
    known, asked = ([folded(query) for query in queries] for queries in (bed.known, bed.unknown))
    first, confidence = np.zeros(len(asked), dtype=np.int64), np.zeros(len(asked))
    by_words: dict[str, Any] = {"analyzer": "word", "token_pattern": r"\S+"}
    for analyzer, power in ((by_words, 3.0), ({"analyzer": "char_wb", "ngram_range": (3, 3)}, 6.0)):
        counts = HashingVectorizer(lowercase=False, norm=None, alternate_sign=False, **analyzer)
        vectors = make_pipeline(counts, TfidfTransformer(sublinear_tf=True))
        texts = vectors.fit_transform(known)
        inner = (texts @ texts.T).toarray()
        np.fill_diagonal(inner, 0.0)
        guess, signs = _votes(inner, bed.probabilities, power)
        sure = _logistic(signs, guess == bed.probabilities.argmax(axis=1))
        guess, signs = _votes((vectors.transform(asked) @ texts.T).toarray(), bed.probabilities, power)
        chance = np.where(signs[:, 0] > -20, 1 / (1 + np.exp(-(sure[0] + signs @ sure[1:]))), 0.0)
        better = chance > confidence
        first[better], confidence[better] = guess[better], chance[better]
    return first, confidence


def _votes(cosine: np.ndarray, probabilities: np.ndarray, power: float) -> tuple[np.ndarray, np.ndarray]:
    weight = cosine**power
    mean = weight @ probabilities / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    return mean.argmax(axis=1), np.log(np.maximum(np.column_stack([cosine.max(axis=1), mean.max(axis=1)]), 1e-9))


def _logistic(signs: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    is_guess = signs[:, 0] > -20
    signs, sided, prior = signs[is_guess], np.where(is_right[is_guess], 1.0, -1.0), np.full(3, 2.0)

    def loss(weights: np.ndarray) -> float:
        margin = sided * (weights[0] + signs @ weights[1:])
        return float(np.logaddexp(0.0, -margin).sum() + 0.5 * ((weights - prior) ** 2).sum())

    return minimize(loss, prior, method="L-BFGS-B", bounds=[(None, None), (2.0, None), (1.0, None)]).x


RIVALS: dict[str, Callable[[Bed], Guess]] = {
    "Kindred": kindred,
    "neighbours' votes (before)": neighbours,
    "characters, regression": regression("characters", 1.0),
    "characters, regression, C 10": regression("characters", 10.0),
    "words, regression": regression("words", 1.0),
    "both, regression": regression("both", 1.0),
    "both, regression, C 10": regression("both", 10.0),
}
