"""Nothing but what is known to be harmless is shown of settings, addresses, SQL and messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.errors import ParamsError
from pipeline.config.load import load_params
from pipeline.config.redaction import redact_message, redact_setting, redact_sql, redact_text
from pipeline.report.next_steps import command

PARAMS = Path(__file__).parents[3] / "params.yaml"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://ann:hush@host/db", "postgresql://***@host/db"),
        ("postgresql://ann:h/u@sh@host/db", "postgresql://***@host/db"),
        ("https://hush@host:8080/x", "https://***@host:8080/x"),
        ("https://host/x?api_key=hush&year=1", "https://host/x?api_key=***&year=1"),
        ("https://host/x.csv?sv=1&sig=hush%2F", "https://host/x.csv?sv=***&sig=***"),
        ("https://host/x.csv?hush", "https://host/x.csv?***"),
        ("DefaultEndpointsProtocol=https;AccountKey=hush/hush==", "DefaultEndpointsProtocol=***;AccountKey=***"),
        ("x.csv pass=hush", "x.csv pass=***"),
        ("pass:hush", "pass:***"),
        ("Authorization: Bearer hush.hush", "Authorization: Bearer ***"),
    ],
)
def test_secrets_in_settings_are_hidden(text: str, expected: str) -> None:
    assert redact_text(text) == expected
    assert redact_text(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("/data/log.csv", "s3://bucket/a@b/*.parquet", "logs/year=2025/month=01/*.csv", "https://host:8080/x/y.csv"),
        *("%Y-%m-%d %H:%M:%S", " > ", "=", "{customer_id: user, occurred_at: ts}", "[a.csv, b.csv]", "$SHOP_DATABASE"),
        *("Europe/Kyiv", "2025-11-01T00:00:00Z", "postgresql://host/db?sslmode=require", "sqlite:///mlflow.db"),
    ],
)
def test_what_is_harmless_is_kept(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select user_id from 'log.csv' where kind <> 'hush'", "select user_id from 'log.csv' where kind <> '***'"),
        ("select * from p('host=h password=''hu sh''', 't')", "select * from p('***', '***')"),
        ("select 1 -- hush\nfrom a /* hush /* */ hush */", "select 1  \nfrom a"),
        ("select $$hush$$, $a$hu$$sh$a$, E'h\\'ush', 'hush", "select '***', '***', '***', '***'"),
        ("from read_csv('https://ann:hush@host/p.csv?sig=hush')", "from read_csv('https://***@host/p.csv?sig=***')"),
        ('select "a=hush" from "log.csv"', 'select "a=***" from "log.csv"'),
    ],
)
def test_secrets_in_sql_are_hidden(query: str, expected: str) -> None:
    assert redact_sql(query) == expected
    assert redact_sql(expected) == expected


def test_harmless_sql_is_kept() -> None:
    query = (
        "select *, 'purchase' as event_type, strptime(t, '%d.%m.%Y') as at from read_csv('my logs/*.csv.gz', sep = ';')"
        " where n >= 3 and at < '2025-01-01' and day = date_trunc('day', at)"
    )
    assert redact_sql(query) == query


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("HTTP Error: GET on 'https://host/a.csv?sig=hush' failed", "HTTP Error: GET on 'https://host/a.csv?sig=***' failed"),
        ("refused with passphrase: hush", "refused with passphrase: ***"),
        ("sent Authorization: Bearer hush", "sent Authorization: *** ***"),
        ('Binder Error: Referenced column "a" not found; Candidate bindings: "b"',) * 2,
        ('IO Error: Cannot open file "/data/log.parquet": No such file or directory',) * 2,
        ("RESOURCE_DOES_NOT_EXIST: Run 'abc' not found",) * 2,
    ],
)  # fmt: skip
def test_secrets_in_messages_are_hidden(message: str, expected: str) -> None:
    assert redact_message(message) == expected


def test_settings_are_redacted_by_their_key() -> None:
    assert redact_setting("source.events.query=select 'hush'") == "source.events.query=select '***'"
    assert redact_setting("source.events={query: select 'hush'}") == "source.events=***"
    for override in ("engine.spark.conf={a.key: hush}", "engine.spark.conf.key=hush", "engine.spark={conf: {a: hush}}"):
        assert redact_setting(override) == f"{override.partition('=')[0]}=***"
    assert redact_setting("engine.spark.master=local[2]") == "engine.spark.master=local[2]"
    assert redact_setting("as_of=2025-11-01T00:00:00Z") == "as_of=2025-11-01T00:00:00Z"
    params = load_params(PARAMS, ["source.events.path=https://host/a.csv?sig=hush", "seed=3"])
    assert command(params, "train").endswith("'source.events.path=https://host/a.csv?sig=***' --set seed=3")


@pytest.mark.parametrize("override", ["tracking.token=hush", "sourc.x=hush", "seed=pass=hush", "seed=Bearer hush"])
def test_a_refused_setting_is_not_shown(override: str) -> None:
    with pytest.raises(ParamsError) as caught:
        load_params(PARAMS, [override])
    assert "hush" not in str(caught.value)
