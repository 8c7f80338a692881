"""params.yaml: a base and what differs from it, lines in messages, overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.errors import ParamsError, without_passwords
from pipeline.config.load import load_params
from pipeline.config.params import params_from_json
from pipeline.stores.database import connect

PARAMS = Path(__file__).parents[3] / "params.yaml"


def written(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_base_is_overridden_deeply(tmp_path: Path) -> None:
    path = written(tmp_path, f"base: {PARAMS}\nseed: 7\nclustering:\n  kmeans:\n    n_init: 9\n")
    ours, base = load_params(path), load_params(PARAMS)
    assert (ours.seed, ours.clustering.kmeans.n_init) == (7, 9)
    assert ours.clustering.kmeans.max_iter == base.clustering.kmeans.max_iter
    assert ours.naming == base.naming
    assert ours.folder == tmp_path.resolve()


def a_shop_and_what_differs(folder: Path, differs: str) -> Path:
    table = "path: log.csv, columns: {customer_id: user, occurred_at: ts}, event_types: {view: [seen]}, timezone: Europe/Kyiv"
    written(folder, f"base: {PARAMS}\nsource:\n  events: {{{table}}}\n", "shop.yaml")
    return written(folder, f"base: shop.yaml\nsource:\n  events: {{{differs}}}\n")


@pytest.mark.parametrize("key", ["path", "query"])
def test_a_table_that_lies_elsewhere_keeps_what_is_not_said_in_a_file_as_by_set(tmp_path: Path, key: str) -> None:
    by_file = load_params(a_shop_and_what_differs(tmp_path, f"{key}: x")).source
    assert by_file == load_params(tmp_path / "shop.yaml", [f"source.events.{key}=x"]).source
    events, was = by_file.events, load_params(tmp_path / "shop.yaml").source.events
    assert events == was.model_copy(update={"path": None, "query": None, key: "x"})


def test_what_a_table_that_lies_elsewhere_says_is_all(tmp_path: Path) -> None:
    """Columns of the old log, left among the new ones, would be looked for in vain."""
    said = load_params(a_shop_and_what_differs(tmp_path, "query: x, columns: {customer_id: client}, event_types: {}"))
    assert (said.source.events.columns, said.source.events.event_types) == ({"customer_id": "client"}, {})
    assert said.source.events.timezone == "Europe/Kyiv"
    in_place = load_params(a_shop_and_what_differs(tmp_path, "columns: {customer_id: client}"))
    assert in_place.source.events.columns == {"customer_id": "client", "occurred_at": "ts"}


def test_a_table_lies_in_one_place(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="exactly one of `path` and `query`"):
        load_params(a_shop_and_what_differs(tmp_path, "query: x, path: y"))
    with pytest.raises(ParamsError, match="exactly one of `path` and `query`"):
        load_params(PARAMS, ["source.events.query=x", "source.events.path=y"])
    assert load_params(PARAMS, ["source.events.query=x", "source.events.path=null"]).source.events.query == "x"


def test_folders_of_the_engine_start_at_the_file_as_all_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    path = written(tmp_path / "shop", f"base: {PARAMS}\nengine: {{temp_directory: spill}}\n")
    params = load_params(path)
    assert params.engine.temp_folder == tmp_path / "shop" / "spill"
    with connect(params.engine, folder=tmp_path):
        assert [one.name for one in tmp_path.iterdir()] == ["shop"] and any((tmp_path / "shop" / "spill").iterdir())
    assert load_params(path, [f"engine.temp_directory={tmp_path / 'far'}"]).engine.temp_folder == tmp_path / "far"
    assert load_params(PARAMS).engine.temp_folder is None
    assert params_from_json(params.model_dump_json(), tmp_path).engine.temp_folder == tmp_path / "spill"


@pytest.mark.parametrize("weight", ["1e300", ".inf", "1000001"])
@pytest.mark.parametrize(
    "key", ["interests.signal_weights.cart", "interests.activity.signal_weights.cart", "searches.outcome_weights.cart"]
)
def test_a_weight_beside_which_nothing_counts(key: str, weight: str) -> None:
    with pytest.raises(
        ParamsError, match=rf"--set {key}.*: expected at most 1,000,000 times what a weight of 1 counts"
    ):
        load_params(PARAMS, [f"{key}={weight}"])
    load_params(PARAMS, [f"{key}=1000000"])


def test_a_base_of_a_base(tmp_path: Path) -> None:
    written(tmp_path, f"base: {PARAMS}\nseed: 1\nhistory_days: 10\n", "middle.yaml")
    ours = load_params(written(tmp_path, "base: middle.yaml\nseed: 2\n"))
    assert (ours.seed, ours.history_days) == (2, 10)


def test_a_circle_of_bases_ends(tmp_path: Path) -> None:
    path = written(tmp_path, "base: mine.yaml\n")
    with pytest.raises(ParamsError, match=r"line 1: .*leads back here"):
        load_params(path)


def test_lines_are_those_of_the_file_at_hand(tmp_path: Path) -> None:
    path = written(tmp_path, f"base: {PARAMS}\n\nclustering:\n  min_events: none\n")
    with pytest.raises(ParamsError, match=r"mine\.yaml, line 4: `clustering\.min_events`"):
        load_params(path)


def test_an_event_type_in_two_lists(tmp_path: Path) -> None:
    text = f"base: {PARAMS}\nsource:\n  events:\n    path: x.csv\n    event_types: {{view: [a], cart: [a]}}\n"
    with pytest.raises(ParamsError, match="mapped to both view and cart"):
        load_params(written(tmp_path, text))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("1", 'expected text, got the number 1. Write what stands there in quotes, as in "1".'),
        ("1.5", 'expected text, got the number 1.5. Write what stands there in quotes, as in "1.5".'),
        (
            "2025-01-31",
            'expected text, got the date 2025-01-31. Write what stands there in quotes, as in "2025-01-31".',
        ),
        ("on", "got true or false, which YAML also reads in yes, no, on and off. Write what stands there in quotes"),
    ],
)
def test_a_text_without_quotes_that_yaml_reads_as_something_else(tmp_path: Path, given: str, told: str) -> None:
    text = f"base: {PARAMS}\nsource:\n  events:\n    event_types:\n      cart: [c]\n      purchase: [paid, {given}]\n"
    with pytest.raises(ParamsError) as caught:
        load_params(written(tmp_path, text))
    assert "mine.yaml, line 6: `source.events.event_types.purchase`: " in str(caught.value)
    assert told in str(caught.value)
    quoted = load_params(written(tmp_path, text.replace(given + "]", f'"{given}"]')))
    assert quoted.source.events.event_types["purchase"] == ["paid", given]
    with pytest.raises(ParamsError, match=r"^--set outputs\.folder=.*: `outputs\.folder`: expected text, got"):
        load_params(PARAMS, [f"outputs.folder={given}"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("source.events.timezone=Kyiv", "expected a time zone"),
        ("currency=hryvnia", "expected the code of a currency"),
        ("engine.memory_limit=lots", "engine.memory_limit"),
        ("engine.memory_limit=80%", "engine.memory_limit"),
        ("checks.negative_price.warn=2", "less than or equal to 1"),
        ("outputs.scores=scores.xlsx", "outputs.scores"),
        ("sourc.events.path=x", "no section `sourc`"),
    ],
)
def test_overrides_with_a_wrong_value(override: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        load_params(PARAMS, [override])


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("seed=many", "seed"),
        ("facets.behaviour.n_segments=none", "facets.behaviour.n_segments"),
        ("clustering.kmeans.n_inits=4", "clustering.kmeans.n_inits"),
        ("journey.active_days=500", "journey"),
        ("interests.signal_weights={viw: 1}", "interests.signal_weights"),
        ("value.vip_quantile=0.2", "value"),
        ("journey.warm_points=50", "journey"),
        ("history_days=1000000", "history_days"),
        ("sweep.n_jobs=0", "sweep.n_jobs"),
        ("value.rfm_quantiles=2", "value.rfm_quantiles"),
    ],
)
def test_a_wrong_override_names_itself_and_no_line(tmp_path: Path, override: str, name: str) -> None:
    mine = written(tmp_path, f"base: {PARAMS}\nhistory_days: 300\n")
    for path in (PARAMS, mine):
        with pytest.raises(ParamsError) as caught:
            load_params(path, ["language=uk", override])
        for line in str(caught.value).splitlines():
            assert line.startswith(f"--set {override}: `{name}")


def test_the_line_of_the_file_is_named_beside_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, f"base: {PARAMS}\nhistory_days: none\n")
    with pytest.raises(ParamsError, match=r"line 2: `history_days`"):
        load_params(path, ["seed=1"])


def test_an_override_comes_after_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, f"base: {PARAMS}\nseed: 7\n")
    assert load_params(path, ["seed=8"]).seed == 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://ann:hush@host/db", "postgresql://***@host/db"),
        ("postgresql://ann:h/u@sh@host/db", "postgresql://***@host/db"),
        ("https://hush@host:8080/x", "https://***@host:8080/x"),
        ("select * from postgres_scan('host=h password=hush user=u', 't')", None),
        ("select * from postgres_scan('host=h password=''hu sh''', 't')", None),
        ("https://host/x?api_key=hush&y=1", "https://host/x?api_key=***&y=1"),
        ("s3://bucket/a@b/*.parquet", "s3://bucket/a@b/*.parquet"),
        ("select user_id, ts from 'log.csv' where kind <> 'secret'", "select user_id, ts from 'log.csv' where kind <> 'secret'"),
        ("/data/log.csv", "/data/log.csv"),
    ],
)  # fmt: skip
def test_passwords_are_replaced(text: str, expected: str | None) -> None:
    found = without_passwords(text)
    assert "hush" not in found
    assert "hu sh" not in found
    assert expected is None or found == expected


def test_redacted_parameters_hold_no_password() -> None:
    given = load_params(
        PARAMS,
        [
            "tracking.uri=postgresql://ann:hush@host/db",
            "source.products.path=null",
            "source.products.query=select * from read_csv('https://ann:hush@host/p.csv')",
            "source.events.path=[s3://a:hush@b/x, y.csv]",
        ],
    )
    shown = given.redacted()
    assert "hush" not in shown.model_dump_json() + str(shown.flat())
    assert shown.naming == given.naming
    assert shown.source.events.path == ["s3://***@b/x", "y.csv"]


def test_a_date_that_does_not_exist_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: {PARAMS}\nlanguage: en\nas_of: 2019-13-45T00:00:00Z\n", encoding="utf-8")
    with pytest.raises(ParamsError, match=r"mine\.yaml, line 3: expected a date that exists"):
        load_params(path)
    with pytest.raises(ParamsError, match=r"--set as_of=2019-13-45"):
        load_params(PARAMS, ["as_of=2019-13-45T00:00:00Z"])


def test_set_opens_what_the_file_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: {PARAMS}\nsource:\n  events:\n    event_types: null\n", encoding="utf-8")
    found = load_params(path, ["source.events.event_types.view=[seen]"])
    assert found.source.events.event_types == {"view": ["seen"]}
    with pytest.raises(ParamsError, match=r"no section `source\.event`"):
        load_params(path, ["source.event.path=x"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("value.rfm_form=twelve", "expected one of rfm_forms: five, eleven"),
        ("value.rfm_forms.five=[{group: Lost, recency: [1, 3]}]", "none takes recency 4, frequency 1, money 1"),
        ("value.rfm_cuts={days_since_last_purchase: [9], order_count: [1], money: [1]}", "expected 4 ascending cuts"),
    ],
)
def test_rfm_forms_are_whole(override: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        load_params(PARAMS, [override])
