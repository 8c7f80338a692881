"""Search queries of the simulated customers: words with a known meaning, spelled correctly or mistyped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.simulate.catalogue import Catalogue
from pipeline.simulate.draws import Flags, Ints, chance
from pipeline.simulate.personas import LANGUAGES, TYPO_SHARE

TYPOS_PER_WORD = 8
LATIN_KEYS = "qwertyuiop[]asdfghjkl;'zxcvbnm,."
KEYBOARDS = {
    "uk": dict(zip("йцукенгшщзхїфівапролджєячсмитьбю", LATIN_KEYS, strict=True)),
    "ru": dict(zip("йцукенгшщзхъфывапролджэячсмитьбю", LATIN_KEYS, strict=True)),
}
KEYBOARDS["en"] = {latin: cyrillic for cyrillic, latin in KEYBOARDS["uk"].items()}


@dataclass(frozen=True)
class Queries:
    """Distinct texts: first the words by language and meaning, then their misspellings.

    Attributes
    ----------
    first_word, word_counts : (languages, meanings)
        Meanings are the catalogue's second levels, then its leaves, and last a vague meaning without a category.
    first_typo, typo_counts : by word
    """

    texts: tuple[str, ...]
    languages: Ints
    meanings: Ints
    paths: tuple[str | None, ...]
    first_word: Ints
    word_counts: Ints
    first_typo: Ints
    typo_counts: Ints

    @property
    def vague(self) -> int:
        """The meaning of a query without a particular category."""
        return len(self.paths) - 1

    def draw(self, generator: np.random.Generator, language: Ints, meaning: Ints) -> tuple[Ints, Flags]:
        """Draw a text for each language and meaning, first words more often, and whether it is mistyped."""
        counts = self.word_counts[language, meaning]
        place = np.floor(counts * generator.random(len(counts)) ** 1.4).astype(np.int64)
        word = self.first_word[language, meaning] + place
        typo_counts = self.typo_counts[word]
        is_typo = chance(generator, np.full(len(word), TYPO_SHARE)) & (typo_counts > 0)
        slip = np.floor(typo_counts * generator.random(len(word)) ** 1.6).astype(np.int64)
        return np.where(is_typo, self.first_typo[word] + slip, word), is_typo

    def as_table(self, is_used: Flags) -> pa.Table:
        """Queries that occur, as a table (query, language, is_typo, category_path)."""
        kept = pa.array(np.flatnonzero(is_used))
        table = pa.table(
            {
                "query": pa.array(self.texts, pa.string()),
                "language": pa.array(LANGUAGES, pa.string()).take(pa.array(self.languages)),
                "is_typo": np.arange(len(self.texts)) >= len(self.first_typo),
                "category_path": pa.array(self.paths, pa.string()).take(pa.array(self.meanings)),
            }
        )
        return table.take(kept).sort_by("query")


def make_queries(generator: np.random.Generator, catalogue: Catalogue) -> Queries:
    """All words of the catalogue with their misspellings. The first meaning of a text is used."""
    rows: list[tuple[str, int, int]] = []
    word_counts = np.zeros((len(LANGUAGES), len(catalogue.words)), dtype=np.int64)
    taken: set[str] = set()
    for language, name in enumerate(LANGUAGES):
        for meaning, words in enumerate(catalogue.words):
            own = [word for word in dict.fromkeys(words[name]) if word not in taken]
            if not own:
                raise ValueError(f"catalogue.yaml: expected a unique word in {name} for {words}. Got none.")
            taken.update(own)
            rows += [(word, language, meaning) for word in own]
            word_counts[language, meaning] = len(own)
    typos: list[tuple[str, int, int]] = []
    typo_counts = np.zeros(len(rows), dtype=np.int64)
    for number, (word, language, meaning) in enumerate(rows):
        own = [typo for typo in _typos(generator, word, LANGUAGES[language]) if typo not in taken]
        taken.update(own)
        typos += [(typo, language, meaning) for typo in own]
        typo_counts[number] = len(own)
    texts, languages, meanings = zip(*rows, *typos, strict=True)
    counts = word_counts.ravel()
    return Queries(
        texts=texts,
        languages=np.array(languages),
        meanings=np.array(meanings),
        paths=(*catalogue.second_paths, *catalogue.leaf_paths, None),
        first_word=(np.cumsum(counts) - counts).reshape(word_counts.shape),
        word_counts=word_counts,
        first_typo=len(rows) + np.cumsum(typo_counts) - typo_counts,
        typo_counts=typo_counts,
    )


def _typos(generator: np.random.Generator, word: str, language: str) -> list[str]:
    """Misspellings of a word: letters swapped, dropped or doubled; the wrong keyboard; Albanian without diacritics."""
    places = generator.integers(0, len(word) - 1, TYPOS_PER_WORD).tolist()
    ways = generator.integers(0, 3, TYPOS_PER_WORD).tolist()
    typos = [_slip(word, place, way) for place, way in zip(places, ways, strict=True)]
    if language in KEYBOARDS:
        typos.insert(3, "".join(KEYBOARDS[language].get(letter, letter) for letter in word))
    else:
        typos.insert(0, word.replace("ë", "e").replace("ç", "c"))
    return [typo for typo in dict.fromkeys(typos) if typo != word]


def _slip(word: str, place: int, way: int) -> str:
    here, following = word[place], word[place + 1]
    return word[:place] + (following + here, following, here + here + following)[way] + word[place + 2 :]
