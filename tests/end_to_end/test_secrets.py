"""Canaries in every place of the parameters that may hold a secret: none reaches a file, a message or the store."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.commands.score import score
from pipeline.commands.train import train
from pipeline.config.params import Params
from pipeline.config.progress import SILENT

CANARY = "zqCanary7"


def holders(folder: Path) -> Iterator[str]:
    """Names of the files, also of those in archives and packed columns, that hold the canary."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        contents = [path.read_bytes()]
        if path.suffix == ".parquet":
            contents.append(str(pq.read_table(path).to_pydict()).encode() + str(pq.read_schema(path).metadata).encode())
        elif path.suffix == ".gz":
            contents.append(gzip.decompress(contents[0]))
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                contents += [archive.read(name) for name in archive.namelist()]
        if any(CANARY.encode() in content for content in contents):
            yield str(path.relative_to(folder))


def canaries(shop: Path) -> tuple[str, ...]:
    query = (
        f"select * /* Bearer {CANARY} */ from '{shop}/events/*.parquet' where '?sig={CANARY}' <> '{CANARY}' "
        f"and 'AccountKey={CANARY};pass={CANARY}' <> $${CANARY}$$ -- passphrase {CANARY}"
    )
    return (
        "source.events.path=null",
        f"source.events.query={query}",
        f"source.products.sheet=pass={CANARY}",
        f"source.customers.time_format=Bearer {CANARY}",
        f'source.category_aliases={{Nothing: "https://ann:{CANARY}@host/?{CANARY}&passphrase={CANARY}"}}',
        f'naming.proposer=["true", "--passphrase", "{CANARY}"]',
        f"engine.allowed_folders=[/nowhere/sig={CANARY}]",
    )


@pytest.mark.slow
def test_no_file_of_a_training_or_scoring_holds_a_secret(
    params: Callable[..., Params], shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = params(*canaries(shop))
    trained = train(settings, sweep=False, progress=SILENT)
    scored = score(settings, model_uri=trained.model_uri, out=tmp_path / "scores.parquet", progress=SILENT)
    assert scored.path.exists() and (tmp_path / "mlflow.db").exists()
    assert [*holders(tmp_path)] == []
    said = capsys.readouterr()
    assert CANARY not in said.out + said.err
    (tmp_path / "outputs" / "planted.json").write_text(f'"{CANARY}"')
    assert [*holders(tmp_path)] == ["outputs/planted.json"]


@pytest.mark.parametrize(
    "setting",
    [
        f"source.events.path=https://host/x.csv?sig={CANARY}",
        f"source.events.path=/nowhere/AccountKey={CANARY}.csv",
        f"tracking.token={CANARY}",
        f"seed=Bearer {CANARY}",
        f"source.events={{query: \"select '{CANARY}' from nowhere -- {CANARY}\"}}",
    ],
)
def test_no_message_shows_a_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str) -> None:
    outputs = ("--set", f"outputs.folder={tmp_path / 'outputs'}", "--set", f"outputs.scores={tmp_path / 's.parquet'}")
    assert main(["check", *outputs, "--set", setting]) == 2
    said = capsys.readouterr()
    assert "kindred: " in said.err and CANARY not in said.out + said.err
