"""A running page on made-up scores, and a client that sends what it is given."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.campaign_effect import Outcome
from pipeline.audiences.build import HELD_OUT, SEND, Audience
from pipeline.audiences.effect import MeasuredEffect, effect_by_facet, keep_effect
from pipeline.audiences.storage import store
from pipeline.commands.actions.serve import page_server
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.sections.audiences import AudienceParams
from pipeline.page.access import Access
from tests.conftest import PARAMS

N = 2000
FORM = "application/x-www-form-urlencoded"


def made_up_scores() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    segment_id = rng.choice(["s1", "s2", "standing-lost"], N, p=[0.5, 0.3, 0.2])
    interest_id = rng.choice(["i1", "i2", "standing-unknown"], N, p=[0.4, 0.4, 0.2])
    segment_id[:7], interest_id[:7] = "s3", "i1"  # fewer than naming.min_group
    is_buyer = rng.random(N) < 0.5
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{number:05}" for number in range(N)],
            "segment_id": segment_id,
            "segment": pd.Series(segment_id).map(
                {"s1": "VIP", "s2": "Lapsed & <b>lost</b>", "s3": "Few", "standing-lost": "Long gone"}
            ),
            "strength": rng.random(N),
            "margin": rng.random(N),
            "is_border": rng.random(N) < 0.2,
            "evidence": "ok",
            "lifecycle_stage": rng.choice(["active", "slipping", "lapsed", "first_order", "browsing"], N),
            "temperature": rng.choice(["cold", "warm", "hot"], N, p=[0.8, 0.15, 0.05]),
            "value_tier": np.where(is_buyer, rng.choice(["vip", "regular", "occasional"], N), None),
            "next_tier": np.where(rng.random(N) < 0.03, "vip", None),
            "days_since_last_purchase": np.where(is_buyer, rng.uniform(0, 365, N), np.nan),
            "order_count": np.where(is_buyer, rng.integers(1, 6, N), 0).astype(float),
            "spend": np.where(is_buyer, rng.integers(5, 500, N), 0).astype(float),
            "top_categories": [["Pets > Cats", "Toys"], ["Pets > Cats > Food"], ["Catsuits"], []] * (N // 4),
            "journey_events": [["left_cart"], [], [], [], []] * (N // 5),
            "interest_segment_id": interest_id,
            "interest_segment": pd.Series(interest_id).map(
                {"i1": "Cats", "i2": "Toys", "standing-unknown": "Interests not known"}
            ),
        }
    )
    frame.loc[N - 1, "customer_id"] = "=cmd|calc"
    return frame


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str


@dataclass
class Client:
    """Sends requests with the cookie of a session, unless it is given other headers."""

    access: Access
    scores: pd.DataFrame
    params: Params
    asked: list[str] = field(default_factory=list)

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": f"{self.access.cookie}={self.access.session}"}

    def send(self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.access.port, timeout=20)
        try:
            connection.request(method, path, body, dict(self.cookie if headers is None else headers))
            response = connection.getresponse()
            pairs = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, pairs, response.read().decode())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.send("GET", path)

    def post(self, path: str, **fields: str | list[str]) -> Answer:
        body = urlencode({"form_token": self.access.form_token, **fields}, doseq=True)
        return self.send("POST", path, body, {**self.cookie, "Content-Type": FORM})


def write_scores(path: Path, frame: pd.DataFrame, as_of: datetime = datetime(2025, 12, 1, tzinfo=UTC)) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table.append_column("as_of", pa.array([as_of] * len(frame), pa.timestamp("us", "UTC"))), path)


def keep_campaign(
    outputs: Path,
    frame: pd.DataFrame,
    name: str = "spring",
    *,
    bought: tuple[float, float] = (0.3, 0.15),
    decide_by: Outcome = "buyers",
    planned_share: float = 0.5,
) -> MeasuredEffect:
    """Keep an audience of everybody, every other one held out, and its effect.

    Parameters
    ----------
    bought : tuple of float
        Shares of those sent to and of those held out who bought, each for 20.
    """
    is_held_out = np.arange(len(frame)) % 2 == 1
    table = frame[["customer_id", "segment", "interest_segment"]].assign(group=np.where(is_held_out, HELD_OUT, SEND))
    definition = AudienceParams.model_validate({"where": {}, "holdout_share": planned_share})
    as_of, until = datetime(2025, 11, 1, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC)
    stored = store(outputs, Audience(name, as_of, definition, table), model_uri="")
    is_buyer = np.random.default_rng(5).random(len(frame)) < np.where(is_held_out, bought[1], bought[0])
    orders = pd.DataFrame({"customer_id": frame.customer_id[is_buyer], "order_count": 1, "spend": 20.0})
    by_facet = effect_by_facet(
        table, orders, has_spend=True, planned_share=planned_share, decide_by=decide_by, min_group=10
    )
    measured = MeasuredEffect(name, as_of, until, until, decide_by, by_facet)
    keep_effect(stored, measured, [])
    return measured


@contextmanager
def serving(folder: Path, frame: pd.DataFrame, *more: str) -> Iterator[Client]:
    """A page in a thread, on a free port."""
    (folder / "outputs").mkdir(exist_ok=True)
    write_scores(folder / "scores.parquet", frame)
    places = [f"outputs.folder={folder / 'outputs'}", f"outputs.scores={folder / 'scores.parquet'}"]
    params = load_params(PARAMS, [*places, *more])
    with page_server(params, port=0) as (server, listener, access):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Client(access, frame, params)
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "outputs").mkdir()
    names = {"en": "Lapsed & <b>lost</b>", "uk": "Давно не купували", "ru": "Давно не покупали", "sq": "Të larguar"}
    plans = {language: f"{name}: write." for language, name in names.items()}
    rule = {"stage": "lapsed", "with_noise": False, "min_events": 3, "precision": 1.0, "coverage": 1.0}
    rows = json.dumps([{"names": names, "playbook": plans, "rule": rule}])
    (folder / "outputs" / "segments.json").write_text(rows, encoding="utf-8")
    keep_campaign(folder / "outputs", made_up_scores())
    with serving(folder, made_up_scores()) as client:
        yield client


@pytest.fixture
def serve_here(tmp_path: Path) -> Callable[..., object]:
    return lambda frame, *more: serving(tmp_path, frame, *more)
