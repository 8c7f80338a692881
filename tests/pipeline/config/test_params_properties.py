"""Whatever is overridden, in files or by ``--set``: the last value counts, and the digest depends on values alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.errors import ParamsError
from pipeline.config.load import load_params
from pipeline.config.params import Params, params_from_json
from tests.conftest import PARAMS

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "seed": st.integers(0, 2**31 - 1),
    "history_days": st.floats(1, 4_000).map(lambda days: round(days, 2)),
    "naming.min_group": st.integers(5, 50),
    "clustering.kmeans.n_init": st.integers(1, 20),
    "interests.half_life_days": st.floats(1, 400).map(lambda days: round(days, 2)),
    "facets.behaviour.n_segments": st.one_of(st.just("auto"), st.integers(2, 20)),
    "tracking.model_name": st.text("abcdefgh", min_size=1, max_size=8).map("shop_{}".format),
    "naming.archetypes.vip.name.en": st.text("abcdefgh", min_size=1, max_size=8).map("VIP {}".format),
    "naming.archetypes.vip.playbook.sq": st.text("abcdefgh", min_size=1, max_size=8).map("Shkruaj {}".format),
}
OVERRIDES = st.lists(
    st.sampled_from(sorted(VALUES)).flatmap(lambda key: st.tuples(st.just(key), VALUES[key])), min_size=1, max_size=6
)
DEFAULTS = load_params(PARAMS)
FEW = settings(max_examples=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("params")


def write(path: Path, base: Path, changes: list[tuple[str, Any]]) -> Path:
    """A params file over ``base``; of changes of one key, the last counts."""
    values: dict[str, Any] = {"base": str(base)}
    for key, value in changes:
        *sections, last = key.split(".")
        functools.reduce(lambda place, section: place.setdefault(section, {}), sections, values)[last] = value
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return path


def options(changes: list[tuple[str, Any]]) -> list[str]:
    return [f"{key}={value}" for key, value in changes]


def value_of(params: Params, key: str) -> Any:
    place: Any = params
    for name in key.split("."):
        if isinstance(place, list | tuple):
            place = next(entry for entry in place if entry.id == name)
        else:
            place = place[name] if isinstance(place, dict) else getattr(place, name)
    return place


@FEW
@given(OVERRIDES)
def test_the_last_set_counts(changes: list[tuple[str, Any]]) -> None:
    params = load_params(PARAMS, options(changes))
    assert {key: value_of(params, key) for key, _ in changes} == dict(changes)
    assert params.digest() == load_params(PARAMS, options([*dict(changes).items()])).digest()


@FEW
@given(OVERRIDES, OVERRIDES, OVERRIDES)
def test_set_counts_before_the_file_and_the_file_before_its_base(
    folder: Path, in_base: list[tuple[str, Any]], in_file: list[tuple[str, Any]], by_set: list[tuple[str, Any]]
) -> None:
    path = write(folder / "mine.yaml", write(folder / "base.yaml", PARAMS, in_base), in_file)
    params, expected = load_params(path, options(by_set)), dict(in_base) | dict(in_file) | dict(by_set)
    assert {key: value_of(params, key) for key in expected} == expected
    # Where a value was set makes no difference, and neither does the folder of the file.
    assert params.digest() == load_params(PARAMS, options([*reversed(expected.items())])).digest()


@FEW
@given(OVERRIDES)
def test_saved_parameters_are_read_as_they_were(changes: list[tuple[str, Any]]) -> None:
    params = load_params(PARAMS, options(changes))
    saved = params_from_json(params.model_dump_json(), params.folder)
    assert saved.digest() == params.digest()
    assert {key: value_of(saved, key) for key, _ in changes} == dict(changes)
    is_default = all(value_of(DEFAULTS, key) == value for key, value in dict(changes).items())
    assert (params.digest() == DEFAULTS.digest()) is is_default


@FEW
@given(st.sampled_from(sorted(VALUES)), st.text("qxz", min_size=3, max_size=6))
def test_a_key_that_does_not_exist_is_refused(folder: Path, key: str, name: str) -> None:
    section, _, _ = key.rpartition(".")
    unknown = f"{section}.{name}" if section else name
    with pytest.raises(ParamsError, match=name):
        load_params(PARAMS, [f"{unknown}=1"])
    with pytest.raises(ParamsError, match=name):
        load_params(write(folder / "unknown.yaml", PARAMS, [(unknown, 1)]))
