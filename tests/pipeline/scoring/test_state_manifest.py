"""The manifest of the state: what is written is read again, and what does not fit is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.forgetting.state_rows import read_manifest
from pipeline.scoring.state import parts_before, require_columns
from pipeline.scoring.state_manifest import (
    MANIFEST,
    EventsPart,
    Manifest,
    MeasuresFile,
    StateError,
    StateFile,
    StateFingerprint,
    load,
)
from pipeline.stores.files import file_digest, write_json

FINGERPRINT = StateFingerprint(model_uri="models:/kindred/1", params_sha256="p", source_sha256="s")
AS_OF = datetime(2025, 2, 1, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2099, 1, 1))
COUNTS = st.integers(0, 10**12)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)


def names(kind: str) -> st.SearchStrategy[str]:
    return st.integers(1, 10**8).map(lambda number: f"{kind}-{number:06}.parquet")


MANIFESTS = st.builds(
    Manifest,
    layout=st.integers(0, 99),
    model_uri=st.text(max_size=40),
    params_sha256=DIGESTS,
    source_sha256=DIGESTS,
    number=st.integers(1, 10**6),
    as_of=st.datetimes(datetime(1990, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),
    reread_from=MOMENTS,
    older_row_count=COUNTS,
    measures=st.lists(
        st.builds(MeasuresFile, file=names("measures"), sha256=DIGESTS, row_count=COUNTS), max_size=3
    ).map(tuple),
    products=st.none() | st.builds(StateFile, file=names("products"), sha256=DIGESTS),
    seasons=st.builds(StateFile, file=names("seasons"), sha256=DIGESTS),
    events=st.lists(
        st.builds(EventsPart, file=names("events"), sha256=DIGESTS, start=MOMENTS, until=MOMENTS, row_count=COUNTS),
        max_size=3,
    ).map(tuple),
)


@given(MANIFESTS)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    text = json.dumps(manifest.as_json(), allow_nan=False)
    again = Manifest.model_validate_json(text)
    assert again == manifest
    assert json.dumps(again.as_json()) == text


def part(number: int, start: datetime, until: datetime, sha256: str = "x") -> EventsPart:
    return EventsPart(file=f"events-{number:06}.parquet", sha256=sha256, start=start, until=until, row_count=1)


def manifest_in(folder: Path) -> Manifest:
    """A small state on disk."""
    for name in ("measures", "events", "seasons"):
        (folder / f"{name}-000001.parquet").write_text(name)
    digests = {name: file_digest(folder / f"{name}-000001.parquet") for name in ("measures", "events", "seasons")}
    manifest = Manifest(
        **FINGERPRINT.model_dump(),
        number=1,
        as_of=AS_OF,
        reread_from=datetime(2025, 1, 29),
        older_row_count=7,
        measures=(MeasuresFile(file="measures-000001.parquet", sha256=digests["measures"], row_count=3),),
        products=None,
        seasons=StateFile(file="seasons-000001.parquet", sha256=digests["seasons"]),
        events=(part(1, datetime(2025, 1, 1), datetime(2025, 2, 1, 0, 0, 0, 370_000), digests["events"]),),
    )
    write_json(folder / MANIFEST, manifest.as_json())
    return manifest


def test_the_form_on_disk_is_that_of_its_layout(tmp_path: Path) -> None:
    """Another form needs another `LAYOUT`, so that older states are refused plainly."""
    manifest_in(tmp_path)
    written = json.loads((tmp_path / MANIFEST).read_text())
    assert written["layout"] == 10
    assert written["as_of"] == "2025-02-01T00:00:00+00:00"
    assert written["reread_from"] == "2025-01-29 00:00:00"
    assert written["events"][0] | {"sha256": ""} == {
        "file": "events-000001.parquet",
        "sha256": "",
        "start": "2025-01-01 00:00:00",
        "until": "2025-02-01 00:00:00.370000",
        "row_count": 1,
    }
    assert sorted(written) == [
        "as_of",
        "customers_sha256",
        "events",
        "layout",
        "measures",
        "model_uri",
        "number",
        "older_row_count",
        "params_sha256",
        "products",
        "reread_from",
        "seasons",
        "source_sha256",
    ]


def test_a_state_that_fits_is_loaded_and_none_is_none(tmp_path: Path) -> None:
    assert load(tmp_path, FINGERPRINT, AS_OF) is None
    manifest = manifest_in(tmp_path)
    assert load(tmp_path, FINGERPRINT, AS_OF) == load(tmp_path, FINGERPRINT, AS_OF + timedelta(days=1)) == manifest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": 8}, "comes from another version of Kindred"),
        ({"layout": 8, "seasons": "?"}, "comes from another version of Kindred"),
        ({"model_uri": "models:/other/1"}, r"another model \(models:/other/1, not models:/kindred/1\)"),
        ({"params_sha256": "q", "source_sha256": "t"}, "other parameters and a source with other settings"),
        ({"number": None}, "manifest is damaged"),
        ({"as_of": "2025-02-01T00:00:00"}, "manifest is damaged"),
        ({"seasons": {"file": "../seasons-000001.parquet", "sha256": "x"}}, "manifest is damaged"),
        ({"seasons": {"file": "seasons-000002.parquet", "sha256": "x"}}, "missing or damaged"),
        ({"as_of": "2025-02-02T00:00:00+00:00"}, r"as_of: expected 2025-02-02 00:00:00 .* cannot go back"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    manifest_in(tmp_path)
    written = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps(written | change))
    with pytest.raises(StateError, match=message):
        load(tmp_path, FINGERPRINT, AS_OF)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "\udcff"])
def test_a_manifest_that_is_no_manifest_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(StateError, match="manifest is damaged"):
        load(tmp_path, FINGERPRINT, AS_OF)


def test_overlapping_parts_are_refused(tmp_path: Path) -> None:
    manifest = manifest_in(tmp_path)
    first, second = (
        part(1, datetime(2025, 1, 1), datetime(2025, 1, 20)),
        part(2, datetime(2025, 1, 19), AS_OF.replace(tzinfo=None)),
    )
    write_json(tmp_path / MANIFEST, manifest.model_copy(update={"events": (first, second)}).as_json())
    with pytest.raises(StateError, match="they overlap"):
        load(tmp_path, FINGERPRINT, AS_OF)


def test_parts_before_a_moment_are_cut_there() -> None:
    days = [datetime(2025, 1, day) for day in (1, 10, 20, 30)]
    parts = [part(number, start, until) for number, (start, until) in enumerate(pairwise(days), 1)]
    cut = parts_before(parts, datetime(2025, 1, 15))
    assert [(piece.start.day, piece.until.day) for piece in cut] == [(1, 10), (10, 15)]
    assert parts_before(parts, days[0]) == []


@pytest.mark.parametrize(
    "name",
    ["../measures-000001.parquet", "/etc/measures-1.parquet", "a/b-1.parquet", "measures-1.parquet\n", "..", "x"],
)
def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path, name: str) -> None:
    content = manifest_in(tmp_path).as_json()
    content["measures"][0]["file"] = name
    write_json(tmp_path / MANIFEST, content)
    with pytest.raises(StateError, match="manifest is damaged"):
        load(tmp_path, FINGERPRINT, AS_OF)


def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    write_json(folder / MANIFEST, manifest_in(folder).as_json())
    assert load(folder, FINGERPRINT, AS_OF) is not None and read_manifest(folder) is not None
    file = folder / "measures-000001.parquet"
    file.rename(tmp_path / "outside.parquet")
    file.symlink_to(tmp_path / "outside.parquet")
    with pytest.raises(StateError, match=r"measures-000001\.parquet: this file of the state is missing or damaged"):
        load(folder, FINGERPRINT, AS_OF)
    assert read_manifest(folder) is None  # `kindred forget` deletes such a state, and not what it points to


def test_files_with_another_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"measures-000001\.parquet: this file of the state holds another table"):
        require_columns(tmp_path, manifest_in(tmp_path))
