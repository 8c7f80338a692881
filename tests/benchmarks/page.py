"""How long views of `kindred serve` take on made-up scores of a million customers.

python tests/benchmarks/page.py [CUSTOMERS]

Median and longest of nine requests to a server on this machine, as a Markdown table.
"""

from __future__ import annotations

import http.client
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import duckdb

from pipeline.commands.actions.serve import page_server
from pipeline.config.load import load_params
from pipeline.page.access import Access

PARAMS = Path(__file__).parents[2] / "params.yaml"
REPEATS = 9
SCORES = """
copy (
  with draws as (
    select range as n, least(floor(20 * random() ** 2), 19)::int as s, least(floor(23 * random() ** 2), 22)::int as i,
      floor(3 * random())::int as topics from range({customers})
  )
  select 'c' || n as customer_id, timestamptz '2025-12-01 00:00:00Z' as as_of,
    's' || s as segment_id, 'Segment ' || s as segment, 'i' || i as interest_segment_id, 'Interest ' || i as interest_segment,
    list_extract(['browsing', 'cart', 'active', 'slipping', 'lapsed', 'lost'], 1 + (6 * random())::int % 6) as lifecycle_stage,
    list_extract(['cold', 'warm', 'hot'], 1 + (3 * random())::int % 3) as temperature,
    list_extract([null, 'occasional', 'regular', 'vip'], 1 + (4 * random())::int % 4) as value_tier,
    if(random() < 0.02, 'vip', null) as next_tier, random() < 0.2 as is_border,
    if(random() < 0.05, ['left_cart'], []) as journey_events,
    list_transform(range(topics), t -> 'Top ' || hash(n, t) % 7 || ' > Below ' || hash(n, t) % 49) as top_categories,
    floor(4 * random()) as order_count, 365 * random() as days_since_last_purchase, 300 * random() ** 4 as spend,
    90 * random() ** 4 as expected_spend, random() as buy_probability, random() as alive_probability
  from draws
) to '{path}' (compression zstd)
"""
VIEWS = {
    "overview": "/en/",
    "segments": "/en/segments",
    "crossing": "/en/crossing",
    "builder, no condition": "/en/audience",
    "builder, segment, tier, temperature": "/en/audience?segment=Segment+3&value_tier=vip&temperature=hot",
    "builder, spend and orders": "/en/audience?spend.min=10&order_count.min=2",
    "builder, category": "/en/audience?category=Top+3",
    "builder, three figures": "/en/audience?days_since_last_purchase.max=90&expected_spend.min=5&buy_probability.min=.3",
    "builder, category, cart, segment": "/en/audience?category=Top+3&journey_events=left_cart&segment=Segment+1",
}


def milliseconds(access: Access, address: str) -> float:
    """The time of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", access.port)
    started = time.perf_counter()
    connection.request("GET", address, headers={"Cookie": f"{access.cookie}={access.session}"})
    response = connection.getresponse()
    response.read()
    taken = 1000 * (time.perf_counter() - started)
    connection.close()
    if response.status != 200:
        raise SystemExit(f"{address}: expected status 200, got {response.status}.")
    return taken


def main(customers: int) -> None:
    """Measure every view."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.parquet"
        duckdb.connect().execute(SCORES.format(customers=customers, path=path))
        params = load_params(PARAMS, [f"outputs.folder={folder}/outputs", f"outputs.scores={path}"])
        started = time.perf_counter()
        with page_server(params, port=0) as (server, listener, access):
            print(f"{customers:,} customers, read in {time.perf_counter() - started:.1f} s\n")
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            print("| view | median, ms | longest, ms |\n|---|---:|---:|")
            for view, address in VIEWS.items():
                first = milliseconds(access, address)
                times = [milliseconds(access, address) for _ in range(REPEATS)]
                print(f"| {view} | {statistics.median(times):.0f} | {max(*times, first):.0f} |")
            server.should_exit = True
            thread.join()
    print(f"\nMemory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
