"""Manual names: they last, and only an existing segment can have one."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.commands.promote import promote
from pipeline.commands.rename import current_names, rename
from pipeline.commands.score import score
from pipeline.commands.train import TrainingResult, train
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.scoring.score_table import with_given_names
from pipeline.stores.mlflow_runs import RunRecord


def published_names(params: Params) -> dict[str, str]:
    """segment_id -> name in the outputs folder."""
    table = pq.read_table(params.path(params.outputs.folder) / "segments.parquet").to_pandas()
    return dict(zip(table.segment_id, table["name"], strict=True))


def test_a_manual_name_appears_in_scores_and_later_trainings_until_reset(
    params: Callable[..., Params], champion: TrainingResult
) -> None:
    settings, first = params(), champion
    segment = first.segments.iloc[0]
    message = rename(settings, segment["name"], "  Our   gold ")
    assert segment["name"] in message and f"Report   {first.report_path} and its segments use the new name" in message
    assert published_names(settings)[segment.segment_id] == "Our gold"
    assert "Our gold" in first.report_path.read_text()

    def scored() -> pd.DataFrame:
        out = settings.path(settings.outputs.scores)
        score(settings, model_uri="models:/kindred@champion", out=out, progress=SILENT)
        return pq.read_table(out).to_pandas()

    # Interest segments can have manual names too, and a name may not repeat across facets.
    interest = first.segments[(first.segments.facet == "interest") & ~first.segments.is_standing].iloc[0]
    with pytest.raises(UserError, match="is taken"):
        rename(settings, interest.segment_id, "Our gold")
    rename(settings, interest["name"], "Our taste")
    scores = scored()
    assert set(scores.segment[scores.segment_id == segment.segment_id]) == {"Our gold"}
    assert set(scores.next_segment[scores.next_segment_id == segment.segment_id]) == {"Our gold"}
    others = scores[scores.segment_id != segment.segment_id]
    assert "Our gold" not in set(others.segment)
    assert segment["name"] not in set(scores.what_would_move.dropna().str.split(" -> ").str[1])
    assert set(scores.interest_segment[scores.interest_segment_id == interest.segment_id]) == {"Our taste"}
    assert set(scores.next_interest_segment[scores.next_interest_segment_id == interest.segment_id]) == {"Our taste"}
    assert "Our taste" not in set(scores.interest_segment[scores.interest_segment_id != interest.segment_id])
    assert "Our gold" in set(scores.segment) and "Our taste" not in set(scores.segment)
    assert published_names(settings)[interest.segment_id] == "Our taste"
    again = train(settings.model_copy(update={"seed": 3}), sweep=False, progress=SILENT)
    names = again.segments.set_index("segment_id")["name"].to_dict()
    assert names[segment.segment_id] == "Our gold" and names[interest.segment_id] == "Our taste"
    assert list(names.values()).count("Our gold") == 1
    # After a reset the name is gone, also from a model trained in the meantime and from later trainings.
    promote(settings, again.run_id, force=True)
    assert "Our gold" in set(scored().segment)
    rename(settings, "Our gold", None)
    assert segment.segment_id in published_names(settings) and "Our gold" not in published_names(settings).values()
    assert published_names(settings)[interest.segment_id] == "Our taste"
    rename(settings, "Our taste", None)
    scores = scored()
    assert "Our gold" not in set(scores.segment) and "Our taste" not in set(scores.interest_segment)
    assert "Our gold" not in set(train(settings, sweep=False, progress=SILENT).segments.name)

    # Results of another run in the outputs folder are left unchanged.
    (settings.path(settings.outputs.folder) / "manifest.json").write_text('{"run_id": "another"}')
    before = published_names(settings)
    assert "Report   not updated: the outputs folder does not contain the champion's report" in rename(
        settings, segment.segment_id, "Our silver"
    )
    assert published_names(settings) == before
    rename(settings, segment.segment_id, None)

    with pytest.raises(UserError, match=r"found none named 'nothing like it'\. Did you mean"):
        rename(settings, "nothing like it", "Gold")
    with pytest.raises(UserError, match=f"Did you mean '{re.escape(segment['name'])}'"):
        rename(settings, segment["name"].upper() + "!", "Gold")
    with pytest.raises(UserError, match="at most 80 characters, found 99"):
        rename(settings, segment.segment_id, "x" * 99)
    with pytest.raises(UserError, match="is taken"):
        rename(settings, segment.segment_id, "Passers-by")
    with pytest.raises(UserError, match="is taken"):
        rename(settings, segment.segment_id, first.segments.iloc[1]["name"])
    with pytest.raises(UserError, match="is taken"):
        rename(settings, segment.segment_id, first.segments.iloc[1]["name"].upper())
    for other_id in (first.segments.iloc[1].segment_id, interest.segment_id.upper()):
        with pytest.raises(UserError, match=f"not the id of another segment; {other_id.lower()} is "):
            rename(settings, segment.segment_id, other_id)
    with pytest.raises(UserError, match="not empty"):
        rename(settings, segment.segment_id, "  ")
    for unseen in ("Gold\x1b[2J", "Gold\u202eevil", "Gold\x07", "Go\u200bld", "Gold\nkindred: done", "Gold\u2028s02"):
        with pytest.raises(UserError, match="printable characters"):
            rename(settings, segment.segment_id, unseen)


@pytest.mark.parametrize("is_reset", [False, True])
def test_a_renaming_that_was_interrupted_can_be_repeated(
    params: Callable[..., Params], champion: TrainingResult, monkeypatch: pytest.MonkeyPatch, is_reset: bool
) -> None:
    settings, segment = params(), champion.segments.iloc[0]
    automatic = segment["name"]
    old, new = ("Our gold", None) if is_reset else (automatic, "Our gold")
    if is_reset:
        rename(settings, segment.segment_id, "Our gold")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pipeline.report.publish.publish_run", killed)
        rename(settings, old, new)
    assert published_names(settings)[segment.segment_id] == old  # the report is behind
    assert rename(settings, old, new).startswith(f"{segment.segment_id} ({old}) ")
    assert published_names(settings)[segment.segment_id] == (new or automatic)
    with pytest.raises(UserError, match="found none named"):  # and it is complete
        rename(settings, old, new)


def test_a_manual_name_follows_a_segment_that_gets_another_id(
    params: Callable[..., Params], champion: TrainingResult
) -> None:
    first = champion.segments[champion.segments.archetype.notna()]
    segment = first[~first.archetype.duplicated(keep=False)].iloc[0]
    rename(params(), segment.segment_id, "Our gold")
    # A week earlier no segment has exactly the same customers, so every segment gets a new id.
    settings = params("identity.min_jaccard=1")
    earlier = settings.model_copy(update={"as_of": settings.as_of - timedelta(days=7)})
    again = train(earlier, sweep=False, progress=SILENT)
    (row,) = again.segments[again.segments.archetype == segment.archetype].to_dict("records")
    assert row["segment_id"] != segment.segment_id and row["name"] == "Our gold"
    assert f"{row['segment_id']} continues {segment.segment_id}, so it is called 'Our gold'" in "\n".join(again.notes)
    out = settings.path(settings.outputs.scores)
    score(earlier, model_uri=again.model_uri, out=out, progress=SILENT)
    scores = pq.read_table(out).to_pandas()
    assert set(scores.segment[scores.segment_id == row["segment_id"]]) == {"Our gold"}


def test_a_run_of_an_older_version(params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its summary has no automatic names for the segments."""
    summary = {"segments": [{"segment_id": "s01", "is_standing": False, "names": {"en": "A"}}], "language": "en"}
    monkeypatch.setattr("pipeline.stores.mlflow_runs.read_run", lambda store, run: RunRecord({}, {}, summary))
    monkeypatch.setattr("pipeline.stores.model_registry.given_names", lambda store: {})
    assert current_names(None, params(), "x")[0] == {"s01": "A"}


def test_renaming_changes_only_names() -> None:
    table = pd.DataFrame(
        {
            "segment_id": ["s01", "s02"],
            "segment": ["A", "B"],
            "next_segment_id": ["s02", None],
            "next_segment": ["B", None],
            "what_would_move": ["one more order -> B", None],
        }
    )
    trained = {"s01": "A", "s02": "B", "s03": "C"}
    result = with_given_names(table, {"s02": "Z"}, trained)
    assert result.segment.tolist() == ["A", "Z"]
    assert result.next_segment[0] == "Z" and pd.isna(result.next_segment[1])
    assert result.what_would_move[0] == "one more order -> Z" and pd.isna(result.what_would_move[1])
    pd.testing.assert_frame_equal(with_given_names(table, {}, trained), table)
    other_table = table.assign(what_would_move=["a cart -> B", "a visit -> C"])
    assert with_given_names(other_table, {"s02": "B -> C"}, trained).what_would_move.tolist() == [
        "a cart -> B -> C",
        "a visit -> C",
    ]


def test_a_move_has_the_given_name_of_a_segment_without_customers() -> None:
    table = pd.DataFrame({"segment_id": ["s01"], "segment": ["A"], "what_would_move": ["a visit -> C"]})
    result = with_given_names(table, {"s03": "Z", "s04": "of an older model"}, {"s01": "A", "s03": "C"})
    assert result.what_would_move.tolist() == ["a visit -> Z"]
