"""Query classifiers: Kindred, its earlier neighbour votes, and TF-IDF with logistic regression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize
from search_datasets import QueryDataset
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

from models.queries import fit_query_model
from models.query_text import folded

Guess = tuple[np.ndarray, np.ndarray]
"""The category of each unknown query, and its confidence; 0 is no answer."""


def kindred(dataset: QueryDataset) -> Guess:
    """The current model."""
    model = fit_query_model(
        dataset.known, dataset.probabilities, dataset.paths, dataset.path_categories,
        min_confidence=0.0, rare=dataset.rare, rare_probabilities=dataset.rare_probabilities, purity=dataset.purity,
    )  # fmt: skip
    meanings = model.predict(dataset.unknown)
    return meanings.probabilities.argmax(axis=1), meanings.confidence


def regression(kind: str, inverse_penalty: float) -> Callable[[QueryDataset], Guess]:
    """Multinomial logistic regression of TF-IDF: of characters (2 to 5 within words), words, or both."""

    def guess(dataset: QueryDataset) -> Guess:
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
        words = TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True)
        texts = {"characters": characters, "words": words, "both": make_union(characters, words)}[kind]
        model = make_pipeline(texts, LogisticRegression(C=inverse_penalty, max_iter=300))
        model.fit(dataset.known, dataset.probabilities.argmax(axis=1))
        chances = model.predict_proba(dataset.unknown)
        return model.classes_[chances.argmax(axis=1)], chances.max(axis=1)

    return guess


def neighbours(dataset: QueryDataset) -> Guess:
    """The earlier fallback: votes of similar learned queries by words or characters, whichever is more confident."""
    known, unknown = ([folded(query) for query in queries] for queries in (dataset.known, dataset.unknown))
    first, confidence = np.zeros(len(unknown), dtype=np.int64), np.zeros(len(unknown))
    by_words: dict[str, Any] = {"analyzer": "word", "token_pattern": r"\S+"}
    for analyzer, power in ((by_words, 3.0), ({"analyzer": "char_wb", "ngram_range": (3, 3)}, 6.0)):
        counts = HashingVectorizer(lowercase=False, norm=None, alternate_sign=False, **analyzer)
        vectors = make_pipeline(counts, TfidfTransformer(sublinear_tf=True))
        texts = vectors.fit_transform(known)
        inner = (texts @ texts.T).toarray()
        np.fill_diagonal(inner, 0.0)
        guess, indicators = _votes(inner, dataset.probabilities, power)
        weights = _logistic(indicators, guess == dataset.probabilities.argmax(axis=1))
        guess, indicators = _votes((vectors.transform(unknown) @ texts.T).toarray(), dataset.probabilities, power)
        chance = np.where(indicators[:, 0] > -20, 1 / (1 + np.exp(-(weights[0] + indicators @ weights[1:]))), 0.0)
        better = chance > confidence
        first[better], confidence[better] = guess[better], chance[better]
    return first, confidence


def _votes(cosine: np.ndarray, probabilities: np.ndarray, power: float) -> tuple[np.ndarray, np.ndarray]:
    weight = cosine**power
    mean = weight @ probabilities / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    return mean.argmax(axis=1), np.log(np.maximum(np.column_stack([cosine.max(axis=1), mean.max(axis=1)]), 1e-9))


def _logistic(indicators: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    is_guess = indicators[:, 0] > -20
    indicators, signed, prior = indicators[is_guess], np.where(is_right[is_guess], 1.0, -1.0), np.full(3, 2.0)

    def loss(weights: np.ndarray) -> float:
        margin = signed * (weights[0] + indicators @ weights[1:])
        return float(np.logaddexp(0.0, -margin).sum() + 0.5 * ((weights - prior) ** 2).sum())

    return minimize(loss, prior, method="L-BFGS-B", bounds=[(None, None), (2.0, None), (1.0, None)]).x


CLASSIFIERS: dict[str, Callable[[QueryDataset], Guess]] = {
    "Kindred": kindred,
    "neighbours' votes (before)": neighbours,
    "characters, regression": regression("characters", 1.0),
    "characters, regression, C 10": regression("characters", 10.0),
    "words, regression": regression("words", 1.0),
    "both, regression": regression("both", 1.0),
    "both, regression, C 10": regression("both", 10.0),
}
