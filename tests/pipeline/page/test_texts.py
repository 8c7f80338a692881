from __future__ import annotations

import pytest

from pipeline.audiences.monday import CANDIDATES
from pipeline.page.wording import page_texts


@pytest.mark.parametrize("language", ["en", "uk", "ru", "sq"])
def test_each_action_has_a_heading_and_a_sentence(language: str) -> None:
    texts = page_texts(language)
    for name in CANDIDATES:
        heading, sentence = texts[f"action.{name}.term"], texts[f"action.{name}.meaning"]
        assert isinstance(heading, str) and isinstance(sentence, str)
        assert sentence.endswith(".") and not heading.endswith((".", ","))
