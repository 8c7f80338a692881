"""What a training prints, in the order in which a person needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config.load import load_params
from pipeline.report.texts.wording import wording
from pipeline.report.training_result import TrainingResult, facet_text

PARAMS = Path(__file__).parents[3] / "params.yaml"


def segment(facet: str, name: str, count: int, share: float, spend_share: float | None, **more: Any) -> dict[str, Any]:
    return {
        **{"facet": facet, "segment_id": name[0], "name": name, "names": {"en": name}, "is_stable": True},
        **{"customer_count": count, "customer_share": share, "spend_share": spend_share, "stability_word": "stable"},
        **{"top_categories": [], "is_standing": False, "is_small": False, **more},
    }


SEGMENTS = pd.DataFrame(
    [
        segment("behaviour", "VIP", 1_234, 0.0204, 0.8),
        segment("behaviour", "Lapsed", 50_000, 0.826, 0.2),
        segment("behaviour", "Passers-by", 10, 0.00005, None, is_standing=True, is_small=True, stability_word=None),
        segment("interest", "Cats", 900, 0.015, 0.1, top_categories=[{"label": "Cats › Food"}, {"label": "Litter"}]),
    ]
)


def result(**more: Any) -> TrainingResult:
    settings: dict[str, Any] = {
        **{"run_id": "0123456789abcdef", "model_uri": "models:/kindred/1", "alias": "champion", "segments": SEGMENTS},
        **{
            "report_path": Path("/shop/outputs/report.html"),
            "notes": ("a note", "Warning: an odd clock"),
            "lineage": [],
        },
        **{"params": load_params(PARAMS), "predicted": "Predicted well"},
    }
    return TrainingResult(**settings | more)


def test_what_matters_comes_before_warnings_and_notes() -> None:
    lines = result().as_text().splitlines()
    firsts = [line.split()[0] for line in lines if line and not line.startswith(" ") and "---" not in line]
    assert firsts[firsts.index("Found") :] == ["Found", "Predicted", "Report", "Model", "Next", "Warnings", "Notes"]
    assert "Found    2 segments by behaviour and 1 segment by interest" in lines
    assert "Report   /shop/outputs/report.html" in lines
    assert lines[-4:] == ["Warnings", "  - an odd clock", "Notes", "  - a note"]
    (score,) = (line for line in lines if line.startswith("Next"))
    assert score.split()[:5] == ["Next", "kindred", "score", "--model", "models:/kindred/1"]


def test_a_training_without_notes_ends_with_the_next_commands() -> None:
    assert result(notes=()).as_text().splitlines()[-1].endswith("# compare runs in MLflow")


def test_a_challenger_says_whose_report_is_in_the_folder() -> None:
    path = Path("/shop/outputs/challenger-0123/report.html")
    text = result(alias="challenger", report_path=path).as_text()
    assert "/shop/outputs/report.html is still the champion's" in " ".join(text.split())
    commands = [line[9:].split("  #")[0].strip() for line in text.partition("\nNext")[2].splitlines()]
    assert "Next     kindred promote 0123456789ab " in text and "unless it is worse" in text
    assert commands[1].startswith("kindred score --params") and "--model" not in text
    assert "unless it is worse" not in result(alias="challenger", has_champion=False).as_text()


def test_figures_are_written_as_in_the_report() -> None:
    text = facet_text("behaviour", SEGMENTS[SEGMENTS.facet == "behaviour"])
    cells = [line.split("  ") for line in text.splitlines()]
    words = wording("en")
    rows = {row[0]: [cell.strip() for cell in row[1:] if cell.strip()] for row in cells}
    assert rows["VIP"] == ["1,234", words.number(0.0204, "share"), words.number(0.8, "share"), "stable"]
    assert rows["Lapsed"] == ["50,000", "83%", "20%", "stable"]
    assert rows["Passers-by"] == ["<10", "<0.1%", "–", "–"]
    interests = facet_text("interest", SEGMENTS[SEGMENTS.facet == "interest"])
    assert interests.splitlines()[-1].endswith("stable     Cats › Food; Litter")
