"""Names given by hand: they last, and only a segment that is there can have one."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.commands.promote import promote
from pipeline.commands.rename import _called_now, rename
from pipeline.commands.score import score
from pipeline.commands.train import Trained, train
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.stores.model_registry import renamed


def quiet(step: str) -> None:
    """No progress."""


def names_in_place(params: Params) -> dict[str, str]:
    """segment_id -> name, as the outputs folder has them."""
    table = pq.read_table(params.path(params.outputs.folder) / "segments.parquet").to_pandas()
    return dict(zip(table.segment_id, table["name"], strict=True))


def test_a_given_name_is_in_scores_and_in_later_trainings_until_it_is_taken_back(
    params: Callable[..., Params], champion: Trained
) -> None:
    given, first = params(), champion
    own = first.segments.iloc[0]
    told = rename(given, own["name"], "  Our   gold ")
    assert own["name"] in told and f"Report   {first.report_path} and the segments beside it have it, too" in told
    assert names_in_place(given)[own.segment_id] == "Our gold"
    assert "Our gold" in first.report_path.read_text()

    def scored() -> pd.DataFrame:
        out = given.path(given.outputs.scores)
        score(given, model_uri="models:/kindred@champion", out=out, progress=quiet)
        return pq.read_table(out).to_pandas()

    scores = scored()
    assert set(scores.segment[scores.segment_id == own.segment_id]) == {"Our gold"}
    assert set(scores.next_segment[scores.next_segment_id == own.segment_id]) == {"Our gold"}
    others = scores[scores.segment_id != own.segment_id]
    assert "Our gold" not in set(others.segment)
    assert own["name"] not in set(scores.what_would_move.dropna().str.split(" -> ").str[1])
    # A segment of interest has a name by hand, too, and no facet may take that of another.
    taste = first.segments[(first.segments.facet == "interest") & ~first.segments.is_standing].iloc[0]
    with pytest.raises(UserError, match="is taken"):
        rename(given, taste.segment_id, "Our gold")
    rename(given, taste["name"], "Our taste")
    scores = scored()
    assert set(scores.interest_segment[scores.interest_segment_id == taste.segment_id]) == {"Our taste"}
    assert set(scores.next_interest_segment[scores.next_interest_segment_id == taste.segment_id]) == {"Our taste"}
    assert "Our taste" not in set(scores.interest_segment[scores.interest_segment_id != taste.segment_id])
    assert "Our gold" in set(scores.segment) and "Our taste" not in set(scores.segment)
    assert names_in_place(given)[taste.segment_id] == "Our taste"
    again = train(given.model_copy(update={"seed": 3}), sweep=False, progress=quiet)
    names = again.segments.set_index("segment_id")["name"].to_dict()
    assert names[own.segment_id] == "Our gold" and names[taste.segment_id] == "Our taste"
    assert list(names.values()).count("Our gold") == 1
    # Taken back, it leaves no trace: not in a model trained meanwhile, and not in the trainings after that.
    promote(given, again.run_id, force=True)
    assert "Our gold" in set(scored().segment)
    rename(given, "Our gold", None)
    assert "Our gold" not in set(scored().segment)
    assert own.segment_id in names_in_place(given) and "Our gold" not in names_in_place(given).values()
    assert names_in_place(given)[taste.segment_id] == "Our taste"
    rename(given, "Our taste", None)
    assert "Our taste" not in set(scored().interest_segment)
    assert "Our gold" not in set(train(given, sweep=False, progress=quiet).segments.name)

    # What is in the outputs folder is of another run, or is gone: it stays as it is.
    (given.path(given.outputs.folder) / "manifest.json").write_text('{"run_id": "another"}')
    before = names_in_place(given)
    assert "Report   not made again: the outputs folder holds none of the champion's" in rename(
        given, own.segment_id, "Our silver"
    )
    assert names_in_place(given) == before
    rename(given, own.segment_id, None)

    with pytest.raises(UserError, match=r"found none called 'nothing like it'\. The nearest is"):
        rename(given, "nothing like it", "Gold")
    with pytest.raises(UserError, match=f"The nearest is '{re.escape(own['name'])}'"):
        rename(given, own["name"].upper() + "!", "Gold")
    with pytest.raises(UserError, match="at most 80 characters, found 99"):
        rename(given, own.segment_id, "x" * 99)
    with pytest.raises(UserError, match="is taken"):
        rename(given, own.segment_id, "Passers-by")
    with pytest.raises(UserError, match="is taken"):
        rename(given, own.segment_id, first.segments.iloc[1]["name"])
    with pytest.raises(UserError, match="a letter in it"):
        rename(given, own.segment_id, "  ")


def test_a_run_of_an_older_version(params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its summary does not say what segments are called by their figures."""
    told = {"segments": [{"segment_id": "s01", "is_standing": False, "names": {"en": "A"}}], "language": "en"}
    monkeypatch.setattr("pipeline.stores.mlflow_runs.read_run", lambda mlflow, run: ({}, {}, told))
    monkeypatch.setattr("pipeline.stores.model_registry.given_names", lambda mlflow, params: {})
    assert _called_now(None, params(), "x")[0] == {"s01": "A"}


def test_only_names_change() -> None:
    table = pd.DataFrame(
        {
            "segment_id": ["s01", "s02"],
            "segment": ["A", "B"],
            "next_segment_id": ["s02", None],
            "next_segment": ["B", None],
            "what_would_move": ["one more order -> B", None],
        }
    )
    found = renamed(table, {"s02": "Z"})
    assert found.segment.tolist() == ["A", "Z"]
    assert found.next_segment[0] == "Z" and pd.isna(found.next_segment[1])
    assert found.what_would_move[0] == "one more order -> Z" and pd.isna(found.what_would_move[1])
    pd.testing.assert_frame_equal(renamed(table, {}), table)
    others = table.assign(what_would_move=["a cart -> B", "a visit -> C"])  # nobody is in C, or near it
    assert renamed(others, {"s02": "B -> C"}).what_would_move.tolist() == ["a cart -> B -> C", "a visit -> C"]
