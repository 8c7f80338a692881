"""params.yaml: bases, names from archetypes.yaml, overrides, and messages that name the line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.config.errors import ParamsError
from pipeline.config.load import load_params
from pipeline.config.params import Params, flat_settings, params_from_json, source_fingerprint
from pipeline.stores.database import connect

PARAMS = Path(__file__).parents[3] / "params.yaml"


def write_params(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_base_is_overridden_deeply(tmp_path: Path) -> None:
    path = write_params(tmp_path, f"base: {PARAMS}\nseed: 7\nclustering:\n  kmeans:\n    n_init: 9\n")
    ours, base = load_params(path), load_params(PARAMS)
    assert (ours.seed, ours.clustering.kmeans.n_init) == (7, 9)
    assert ours.clustering.kmeans.max_iter == base.clustering.kmeans.max_iter
    assert ours.naming == base.naming
    assert ours.folder == tmp_path.resolve()


def write_shop_and_changes(folder: Path, changes: str) -> Path:
    table = "path: log.csv, columns: {customer_id: user, occurred_at: ts}, event_types: {view: [seen]}, timezone: Europe/Kyiv"
    write_params(folder, f"base: {PARAMS}\nsource:\n  events: {{{table}}}\n", "shop.yaml")
    return write_params(folder, f"base: shop.yaml\nsource:\n  events: {{{changes}}}\n")


@pytest.mark.parametrize("key", ["path", "table", "query"])
def test_a_moved_table_keeps_its_other_keys_in_a_file_and_by_set(tmp_path: Path, key: str) -> None:
    by_file = load_params(write_shop_and_changes(tmp_path, f"{key}: x")).source
    assert by_file == load_params(tmp_path / "shop.yaml", [f"source.events.{key}=x"]).source
    events, was = by_file.events, load_params(tmp_path / "shop.yaml").source.events
    assert events == was.model_copy(update={"path": None, "query": None, key: "x"})


def test_columns_of_a_moved_table_replace_those_of_the_base(tmp_path: Path) -> None:
    """Otherwise Kindred would look for the old log's columns in the new one."""
    moved = load_params(write_shop_and_changes(tmp_path, "query: x, columns: {customer_id: client}, event_types: {}"))
    assert (moved.source.events.columns, moved.source.events.event_types) == ({"customer_id": "client"}, {})
    assert moved.source.events.timezone == "Europe/Kyiv"
    in_place = load_params(write_shop_and_changes(tmp_path, "columns: {customer_id: client}"))
    assert in_place.source.events.columns == {"customer_id": "client", "occurred_at": "ts"}


def test_a_table_has_one_location(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="exactly one of `path`, `table`, `query` and `sql`"):
        load_params(write_shop_and_changes(tmp_path, "query: x, path: y"))
    with pytest.raises(ParamsError, match="exactly one of `path`, `table`, `query` and `sql`"):
        load_params(PARAMS, ["source.events.query=x", "source.events.path=y"])
    assert load_params(PARAMS, ["source.events.query=x", "source.events.path=null"]).source.events.query == "x"


def test_engine_folders_are_relative_to_the_params_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    path = write_params(tmp_path / "shop", f"base: {PARAMS}\nengine: {{temp_directory: spill}}\n")
    params = load_params(path)
    assert params.engine.temp_folder == tmp_path / "shop" / "spill"
    with connect(params.engine, folder=tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["shop"] and any((tmp_path / "shop" / "spill").iterdir())
    assert load_params(path, [f"engine.temp_directory={tmp_path / 'far'}"]).engine.temp_folder == tmp_path / "far"
    assert load_params(PARAMS).engine.temp_folder is None
    assert params_from_json(params.model_dump_json(), tmp_path).engine.temp_folder == tmp_path / "spill"


@pytest.mark.parametrize("weight", ["1e300", ".inf", "1000001"])
@pytest.mark.parametrize(
    "key", ["interests.signal_weights.cart", "interests.activity.signal_weights.cart", "searches.outcome_weights.cart"]
)
def test_a_weight_too_large_for_others_to_count(key: str, weight: str) -> None:
    with pytest.raises(ParamsError, match=rf"--set {key}.*: expected at most 1,000,000 times a weight of 1"):
        load_params(PARAMS, [f"{key}={weight}"])
    load_params(PARAMS, [f"{key}=1000000"])


def test_a_base_of_a_base(tmp_path: Path) -> None:
    write_params(tmp_path, f"base: {PARAMS}\nseed: 1\nhistory_days: 10\n", "middle.yaml")
    ours = load_params(write_params(tmp_path, "base: middle.yaml\nseed: 2\n"))
    assert (ours.seed, ours.history_days) == (2, 10)


def test_bases_in_a_circle_are_refused(tmp_path: Path) -> None:
    path = write_params(tmp_path, "base: mine.yaml\n")
    with pytest.raises(ParamsError, match=r"line 1: .*leads back here"):
        load_params(path)


def test_an_error_names_the_line_in_the_file_itself(tmp_path: Path) -> None:
    path = write_params(tmp_path, f"base: {PARAMS}\n\nclustering:\n  min_events: none\n")
    with pytest.raises(ParamsError, match=r"mine\.yaml, line 4: `clustering\.min_events`"):
        load_params(path)


def test_an_event_type_in_two_lists(tmp_path: Path) -> None:
    text = f"base: {PARAMS}\nsource:\n  events:\n    path: x.csv\n    event_types: {{view: [a], cart: [a]}}\n"
    with pytest.raises(ParamsError, match="mapped to both view and cart"):
        load_params(write_params(tmp_path, text))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1", 'expected text, got the number 1. Put the value in quotes, as in "1".'),
        ("1.5", 'expected text, got the number 1.5. Put the value in quotes, as in "1.5".'),
        (
            "2025-01-31",
            'expected text, got the date 2025-01-31. Put the value in quotes, as in "2025-01-31".',
        ),
        ("on", "got true or false, which YAML also reads in yes, no, on and off. Put the value in quotes"),
    ],
)
def test_unquoted_text_that_yaml_reads_as_another_type(tmp_path: Path, value: str, message: str) -> None:
    text = f"base: {PARAMS}\nsource:\n  events:\n    event_types:\n      cart: [c]\n      purchase: [paid, {value}]\n"
    with pytest.raises(ParamsError) as caught:
        load_params(write_params(tmp_path, text))
    assert "mine.yaml, line 6: `source.events.event_types.purchase`: " in str(caught.value)
    assert message in str(caught.value)
    quoted = load_params(write_params(tmp_path, text.replace(value + "]", f'"{value}"]')))
    assert quoted.source.events.event_types["purchase"] == ["paid", value]
    with pytest.raises(ParamsError, match=r"^--set outputs\.folder=.*: `outputs\.folder`: expected text, got"):
        load_params(PARAMS, [f"outputs.folder={value}"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("source.events.timezone=Kyiv", "expected a time zone"),
        ("currency=hryvnia", "expected an ISO 4217 currency code"),
        ("currency=gbp", r"Did you mean GBP\? Got 'gbp'"),
        ("as_of=2011-12-10", "such as 2011-12-10T00:00:00Z. Got 2011-12-10"),
        ("as_of=2011-12-10T08:00:00", "such as 2011-12-10T00:00:00Z"),
        ("engine.memory_limit=lots", "engine.memory_limit"),
        ("engine.memory_limit=80%", "engine.memory_limit"),
        ("checks.negative_price.warn=2", "less than or equal to 1"),
        ("outputs.scores=scores.xlsx", "outputs.scores"),
        ("outputs.scores=s3://bucket/x.parquet", "expected a path on this machine"),
        ("outputs.folder=https://host/?sig=s3cret", r"not an address\. Got 'https://host/\?sig=\*\*\*'"),
        ("engine.temp_directory=s3://bucket/x", "expected a path on this machine"),
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
def test_a_wrong_override_names_itself_instead_of_a_line(tmp_path: Path, override: str, name: str) -> None:
    mine = write_params(tmp_path, f"base: {PARAMS}\nhistory_days: 300\n")
    for path in (PARAMS, mine):
        with pytest.raises(ParamsError) as caught:
            load_params(path, ["language=uk", override])
        for line in str(caught.value).splitlines():
            assert line.startswith(f"--set {override}: `{name}")


def test_an_error_in_the_file_names_its_line_despite_overrides(tmp_path: Path) -> None:
    path = write_params(tmp_path, f"base: {PARAMS}\nhistory_days: none\n")
    with pytest.raises(ParamsError, match=r"line 2: `history_days`"):
        load_params(path, ["seed=1"])


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    path = write_params(tmp_path, f"base: {PARAMS}\nseed: 7\n")
    assert load_params(path, ["seed=8"]).seed == 8


def test_redacted_parameters_hold_no_password() -> None:
    params = load_params(
        PARAMS,
        [
            "tracking.uri=postgresql://ann:hush@host/db",
            "source.products.path=null",
            "source.products.query=select * from read_csv('https://ann:hush@host/p.csv')",
            "source.events.path=[s3://a:hush@b/x, y.csv]",
        ],
    )
    redacted = params.redacted()
    assert "hush" not in redacted.model_dump_json() + str(flat_settings(redacted.model_dump(mode="json")))
    assert redacted.naming == params.naming
    assert redacted.source.events.path == ["s3://***@b/x", "y.csv"]


def test_a_date_that_does_not_exist_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: {PARAMS}\nlanguage: en\nas_of: 2019-13-45T00:00:00Z\n", encoding="utf-8")
    with pytest.raises(ParamsError, match=r"mine\.yaml, line 3: expected a date that exists"):
        load_params(path)
    with pytest.raises(ParamsError, match=r"--set as_of=2019-13-45"):
        load_params(PARAMS, ["as_of=2019-13-45T00:00:00Z"])


@pytest.mark.parametrize("value", ["10.12.2011", "2011-12-10", "soon", "20111210", "'20111210'", "true", "null"])
def test_as_of_in_another_form_names_the_form_to_use(value: str) -> None:
    message = r"^--set as_of=.*: `as_of`: expected a date and time with an offset, such as {}T00:00:00Z\. Got "
    day = "2011-12-10" if value in ("2011-12-10", "'20111210'") else "2025-11-01"
    with pytest.raises(ParamsError, match=message.format(day)):
        load_params(PARAMS, [f"as_of={value}"])


def test_as_of_may_have_any_offset() -> None:
    assert load_params(PARAMS, ["as_of=2011-12-10T02:00:00+02:00"]).as_of.isoformat() == "2011-12-10T00:00:00+00:00"


def test_set_creates_a_section_that_the_file_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: {PARAMS}\nsource:\n  events:\n    event_types: null\n", encoding="utf-8")
    params = load_params(path, ["source.events.event_types.view=[seen]"])
    assert params.source.events.event_types == {"view": ["seen"]}
    with pytest.raises(ParamsError, match=r"no section `source\.event`"):
        load_params(path, ["source.event.path=x"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("value.rfm_form=twelve", "expected one of rfm_forms: five, eleven"),
        ("value.rfm_forms.five=[{group: Lost, recency: [1, 3]}]", "none matches recency 4, frequency 1, money 1"),
        ("value.rfm_cuts={days_since_last_purchase: [9], order_count: [1], money: [1]}", "expected 4 ascending cuts"),
    ],
)
def test_rfm_forms_cover_every_customer(override: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        load_params(PARAMS, [override])


def names_by_id(params: Params) -> dict[str, str]:
    return {archetype.id: archetype.name.en for archetype in params.naming.archetypes}


def test_params_yaml_stays_under_400_lines() -> None:
    assert len(PARAMS.read_text(encoding="utf-8").splitlines()) < 400


def test_a_name_in_params_wins_over_archetypes_yaml(tmp_path: Path) -> None:
    text = "naming:\n  archetypes:\n    vip: {name: {en: Best customers}}\n  standing: {lost: {name: {en: Gone}}}\n"
    ours, packaged = load_params(write_params(tmp_path, f"base: {PARAMS}\n{text}")), load_params(PARAMS)
    assert names_by_id(ours) == names_by_id(packaged) | {"vip": "Best customers"}
    assert ours.naming.standing["lost"].name.en == "Gone"
    assert ours.naming.standing["lost"].playbook == packaged.naming.standing["lost"].playbook
    by_set = ["naming.archetypes.vip.name.en=Best customers", "naming.standing.lost.name.en=Gone"]
    assert load_params(PARAMS, by_set).digest() == ours.digest()


@pytest.mark.parametrize("name", ["VIP\nkindred: done", "VIP\x1b[2J", "VIP\u202e", " "])
def test_a_name_that_would_write_a_line_of_its_own_is_refused(tmp_path: Path, name: str) -> None:
    text = f"base: {PARAMS}\nnaming: {{archetypes: {{vip: {{name: {{en: {json.dumps(name)}}}}}}}}}\n"
    with pytest.raises(ParamsError, match=r"expected one line of printable characters") as refused:
        load_params(write_params(tmp_path, text))
    assert "naming.archetypes" in str(refused.value) and "name.en" in str(refused.value)
    folded = "naming:\n  archetypes:\n    vip:\n      name:\n        en: >\n          Best\u00a0of\n          all\n"
    assert names_by_id(load_params(write_params(tmp_path, f"base: {PARAMS}\n{folded}")))["vip"] == "Best\u00a0of all"


def test_a_name_in_the_file_wins_over_one_in_its_base(tmp_path: Path) -> None:
    base = write_params(
        tmp_path, f"base: {PARAMS}\nnaming: {{archetypes: {{vip: {{name: {{en: A, uk: B}}}}}}}}\n", "base.yaml"
    )
    ours = load_params(write_params(tmp_path, f"base: {base}\nnaming: {{archetypes: {{vip: {{name: {{en: C}}}}}}}}\n"))
    (vip,) = [archetype for archetype in ours.naming.archetypes if archetype.id == "vip"]
    assert (vip.name.en, vip.name.uk, vip.name.sq) == ("C", "B", "VIP")


def test_an_archetype_is_added_or_dropped_by_id(tmp_path: Path) -> None:
    text = "{en: a, uk: b, ru: c, sq: d}"
    added = f"mine: {{priority: 5, name: {text}, playbook: {text}, avoid: {text}, when: {{buyer_share: {{min: 0.9}}}}}}"
    path = write_params(tmp_path, f"base: {PARAMS}\nnaming: {{archetypes: {{glance: null, {added}}}}}\n")
    names, packaged = names_by_id(load_params(path)), names_by_id(load_params(PARAMS))
    assert names == {id_: name for id_, name in packaged.items() if id_ != "glance"} | {"mine": "a"}
    assert "glance" not in names_by_id(load_params(PARAMS, ["naming.archetypes.glance=null"]))


def test_a_condition_of_an_archetype_is_changed_or_dropped(tmp_path: Path) -> None:
    change = "when: {orders_per_customer: null, repeat_buyer_share: {min: 0.5}}"
    path = write_params(tmp_path, f"base: {PARAMS}\nnaming: {{archetypes: {{regular: {{{change}}}}}}}\n")
    ours, packaged = (
        next(archetype.when for archetype in params.naming.archetypes if archetype.id == "regular")
        for params in (load_params(path), load_params(PARAMS))
    )
    assert ours.keys() == packaged.keys() - {"orders_per_customer"}
    assert (ours["repeat_buyer_share"].min, ours["buyer_share"]) == (0.5, packaged["buyer_share"])


def test_a_list_of_archetypes_replaces_all(tmp_path: Path) -> None:
    assert load_params(write_params(tmp_path, f"base: {PARAMS}\nnaming: {{archetypes: []}}\n")).naming.archetypes == []


def test_occasions_are_dropped_by_null_and_all_by_an_empty_section(tmp_path: Path) -> None:
    packaged = list(load_params(PARAMS).cards.occasions)
    path = write_params(tmp_path, f"base: {PARAMS}\ncards: {{occasions: {{valentine: null}}}}\n")
    assert list(load_params(path).cards.occasions) == [name for name in packaged if name != "valentine"]
    assert load_params(PARAMS, ["cards.occasions.valentine=null"]).cards == load_params(path).cards
    assert load_params(write_params(tmp_path, f"base: {PARAMS}\ncards: {{occasions: {{}}}}\n")).cards.occasions == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "archetypes: {vip: {\nplaybok: {en: x}}}",
            r"line 3: `naming\.archetypes\.vip\.playbok` is not .* mean `playbook`",
        ),
        (
            "archetypes: {\nvpi: {name: {en: x}}}",
            r"line 3: `naming\.archetypes\.vpi\.priority` is missing\. .* mean `vip`\?",
        ),
        ("standing: {lost: {\nnames: {en: x}}}", r"line 3: `naming\.standing\.lost\.names` is not .* mean `name`"),
        (
            "traits: {return_rate: {\nabove: {en: 3}}}",
            r"line 3: `naming\.traits\.return_rate\.above\.en`: expected text",
        ),
    ],
)
def test_a_wrong_key_in_an_override_of_names_is_refused_with_file_and_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ParamsError, match=rf"mine\.yaml, {message}"):
        load_params(write_params(tmp_path, f"base: {PARAMS}\nnaming: {{{text}}}\n"))


def test_an_unknown_key_in_archetypes_yaml_is_refused_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = load.ARCHETYPES.read_text(encoding="utf-8").replace("    - id: vip\n", "    - id: vip\n      colour: gold\n")
    monkeypatch.setattr(load, "ARCHETYPES", write_params(tmp_path, text, "archetypes.yaml"))
    line = text[: text.index("colour")].count("\n") + 1
    with pytest.raises(
        ParamsError, match=rf"archetypes\.yaml, line {line}: `naming\.archetypes\.vip\.colour` is not a key"
    ):
        load_params(write_params(tmp_path, PARAMS.read_text(encoding="utf-8")))


def test_an_error_in_a_base_names_the_file_and_line_of_the_base(tmp_path: Path) -> None:
    base = write_params(tmp_path, f"base: {PARAMS}\nseed: many\n", "shop.yaml")
    with pytest.raises(ParamsError, match=r"shop\.yaml, line 2: `seed`"):
        load_params(write_params(tmp_path, f"base: {base}\nlanguage: uk\n"))


def test_folders_of_this_machine_are_left_out_of_a_model(tmp_path: Path) -> None:
    here, elsewhere = PARAMS.parent.resolve(), tmp_path / "far" / "logs"
    places = (
        f"source.events.path={elsewhere}/*.parquet",
        f"source.products.path={here}/demo/shop/products.parquet",
        f"outputs.folder={tmp_path}/results",
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
        f"tracking.artifacts={here}/mlartifacts",
    )
    params = load_params(PARAMS, places)
    short = params.without_folders()
    assert short.source.events.path == "*.parquet"
    assert short.source.products is not None and short.source.products.path == "demo/shop/products.parquet"
    assert (short.outputs.folder, short.tracking.uri) == ("results", "sqlite:///mlflow.db")
    assert short.tracking.artifacts == "mlartifacts"
    assert str(tmp_path) not in short.model_dump_json() and str(here) not in short.model_dump_json()
    assert source_fingerprint(short) == source_fingerprint(params)
    plain = load_params(PARAMS, ())
    assert plain.without_folders().model_dump() == plain.model_dump()


@pytest.mark.parametrize(
    ("setting", "is_same"),
    [
        ("source.events.encoding=cp1252", True),
        ('source.events.delimiter=";"', True),
        ("source.events.format=csv", True),
        ("source.products.sheet=Items", True),
        ('source.events.decimal=","', True),
        ("source.events.columns.customer_id=buyer", False),
        ("source.events.event_types.purchase=[sale]", False),
    ],
)
def test_another_way_of_writing_the_tables_is_the_same_shop_but_not_the_same_state(setting: str, is_same: bool) -> None:
    plain, other = load_params(PARAMS, ()), load_params(PARAMS, (setting,))
    assert (source_fingerprint(plain) == source_fingerprint(other)) == is_same
    assert source_fingerprint(plain, as_written=True) != source_fingerprint(other, as_written=True)


@pytest.mark.parametrize("name", ["it's", 'a"b', "a/b", "a:b", "a@b", "", " ", "a\x1bb"])
def test_a_model_name_that_cannot_be_part_of_an_address_is_refused(name: str) -> None:
    with pytest.raises(ParamsError, match=r"tracking\.model_name"):
        load_params(PARAMS, [f"tracking.model_name={json.dumps(name)}"])


def test_other_model_names_are_accepted() -> None:
    assert load_params(PARAMS, ["tracking.model_name=Мій магазин 2"]).tracking.model_name == "Мій магазин 2"


def test_parameters_without_a_sample_keep_their_digest() -> None:
    whole, sample = load_params(PARAMS), load_params(PARAMS, ["sample_customers=500"])
    assert "sample_customers" not in whole.model_dump(mode="json")
    assert sample.model_dump(mode="json")["sample_customers"] == 500 and sample.digest() != whole.digest()


def test_a_cluster_of_other_machines_needs_a_shared_folder() -> None:
    with pytest.raises(ParamsError, match=r"engine\.spark.*expected in engine\.spark\.scratch a folder"):
        load_params(PARAMS, ["engine.spark.master=spark://host:7077"])
    shared = load_params(PARAMS, ["engine.spark.master=spark://host:7077", "engine.spark.scratch=/shared"])
    assert shared.engine.scratch_folder == Path("/shared")


@pytest.mark.parametrize("folder", ["/tmp/kindred", "/dev/shm"])
def test_a_cluster_of_other_machines_cannot_use_a_folder_of_one_machine(folder: str) -> None:
    scratch = f"engine.spark.scratch={folder}"
    with pytest.raises(ParamsError, match=rf"expected in engine\.spark\.scratch a folder .* Got {folder}"):
        load_params(PARAMS, ["engine.spark.master=spark://host:7077", scratch])
    assert load_params(PARAMS, ["engine.spark.master=local[2]", scratch]).engine.scratch_folder == Path(folder)


@pytest.mark.parametrize("mount", ["/tmp", "/run/shared"])
def test_a_cluster_of_other_machines_may_use_what_is_mounted_there(mount: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the folder of one machine that is a mount itself."""
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == mount)
    given = [f"engine.spark.scratch={mount}/kindred", "engine.spark.master=spark://host:7077"]
    if mount == "/tmp":
        with pytest.raises(ParamsError, match=r"expected in engine\.spark\.scratch a folder"):
            load_params(PARAMS, given)
    else:
        assert load_params(PARAMS, given).engine.scratch_folder == Path(mount, "kindred")


def test_files_with_ids_are_their_owners_unless_a_group_may_read_them() -> None:
    private, shared = load_params(PARAMS), load_params(PARAMS, ["outputs.group_readable=true"])
    assert (private.outputs.mode_with_ids, shared.outputs.mode_with_ids) == (0o600, 0o640)
    # What may be read changes no result, so no state is built again.
    allowed = load_params(PARAMS, ["engine.allowed_folders=[/srv/logs]"])
    assert private.digest() == shared.digest() == allowed.digest()
