"""Query texts as vectors: text folding to the Latin alphabet, keyboard layouts, hashed TF-IDF of n-grams and words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from features.searches import APOSTROPHES, MAX_QUERY_LENGTH

if TYPE_CHECKING:  # the scorer brings MLflow, which takes a second and a half
    from models.scorer import Floats, Ints

BUCKETS = 2**15
"""Hash buckets for character n-grams, and as many for words. Hashing lets unseen n-grams count in a text's length."""
NGRAM_LENGTHS = (3, 4)
"""Shortest and longest character n-gram."""
WORD_WEIGHT = 0.7
"""Length of the word vector relative to that of the character vector."""
FOLDED_QUERIES = 50_000
"""Folded queries that are remembered, as a training reads the same queries at several cutoffs."""

# Common transliteration of Ukrainian and Russian; й, ї and ё are already without their marks at this point.
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


@lru_cache(maxsize=FOLDED_QUERIES)
def folded(query: str) -> str:
    """Fold a query for comparison: NFKD, no case or accents, Cyrillic transliterated, words joined by single spaces.

    Examples
    --------
    >>> folded("Корм  для КОТІВ!"), folded("Ushqim për mace"), folded("ﬁsh—tank")
    ('korm dlia kotiv', 'ushqim per mace', 'fish tank')
    """
    text = unicodedata.normalize("NFKD", query[:MAX_QUERY_LENGTH].casefold())
    text = "".join(letter for letter in text if not unicodedata.combining(letter)).translate(LATIN)
    return " ".join("".join(letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in text).split())


def hashed(texts: Sequence[str]) -> sparse.csr_matrix:
    """Counts of hashed n-grams and words in folded texts: (n, 2 x BUCKETS), character n-grams first, then words."""
    from sklearn.feature_extraction.text import HashingVectorizer

    options = {"lowercase": False, "norm": None, "alternate_sign": False, "n_features": BUCKETS}
    ngrams = HashingVectorizer(analyzer="char_wb", ngram_range=NGRAM_LENGTHS, **options)
    words = HashingVectorizer(analyzer="word", token_pattern=r"\S+", **options)
    return sparse.hstack([ngrams.transform(texts), words.transform(texts)], format="csr")


@dataclass(frozen=True)
class TextVectors:
    """TF-IDF of hashed counts, with document frequencies from the fitted texts.

    Attributes
    ----------
    idf : float array of shape (2 x BUCKETS,)
    used : int array of shape (n_used,)
        Buckets that occur in the fitted texts.
    """

    idf: Floats
    used: Ints

    @staticmethod
    def fit(counts: sparse.csr_matrix) -> TextVectors:
        """Fit on texts with these `hashed` counts."""
        frequency = np.bincount(counts.indices, minlength=counts.shape[1])
        return TextVectors(np.log((1.0 + counts.shape[0]) / (1.0 + frequency)) + 1.0, np.flatnonzero(frequency))

    def transform(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """Vectors of shape (n, n_used); their length is 1 if all n-grams and words are known."""
        weighted = counts.astype(np.float64)
        weighted.data = 1.0 + np.log(weighted.data)
        weighted = sparse.csr_matrix(weighted.multiply(self.idf))
        row = np.repeat(np.arange(weighted.shape[0]), np.diff(weighted.indptr))
        is_word = weighted.indices >= BUCKETS
        scale = np.where(is_word, WORD_WEIGHT, 1.0) / np.sqrt(1.0 + WORD_WEIGHT**2)
        square = np.bincount(2 * row + is_word, weighted.data**2, minlength=2 * weighted.shape[0])
        weighted.data *= scale / np.sqrt(square[2 * row + is_word])
        return weighted[:, self.used].tocsr()

    def known_share(self, counts: sparse.csr_matrix) -> Floats:
        """Share of each text that consists of known n-grams and words: its squared vector length, 0 to 1."""
        vectors = self.transform(counts)
        share: Floats = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel()
        return share
