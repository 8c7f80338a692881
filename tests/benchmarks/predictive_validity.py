"""Predictive validity of segments on real logs, compared with other groupings and with the whole profile.

python tests/benchmarks/predictive_validity.py [LOG ...]

Three variants are measured for each log, one horizon before its end: 8 behaviour segments with the configured settings;
8 with the balance of blocks chosen on earlier cutoffs; and the number of segments chosen as well. If the log has
categories, interest segments are chosen and added. Figures are of the last cutoff, with 95% intervals, for each facet
alone and for both.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.config.facets import facets_of, with_facets
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.ingest.source import read_source
from pipeline.profiles.build import Profiles, build_profiles
from pipeline.segmentation import choose
from pipeline.segmentation.predictive_validity import CutoffData, build_cutoffs, measure_validity
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB

LOGS = {
    "tmall2014": ("2014-08-15T00:00:00Z", 123),
    "complete_journey": ("2017-12-31T00:00:00Z", 364),
    "online_retail": ("2011-12-09T00:00:00Z", 373),
}
"""Log -> its end and its length in days. The last cutoff before the end is the as_of of tests/real."""
HERE = Path(__file__).parents[1] / "real"


def params_of(log: str, *more: str) -> Params:
    """The parameters of a log, as of its end."""
    end, days = LOGS[log]
    return load_params(HERE / f"{log}.yaml", [f"as_of={end}", f"history_days={days}", "interests.fit=off", *more])


def choose_for_facet(
    profiles: Profiles, earlier: list[CutoffData], params: Params, position: int
) -> choose.ChosenClusters:
    """The chosen settings for the facet at this position in the parameters."""
    facet = facets_of(params)[position]
    return choose.choose_and_fit(None, profiles, earlier, params, facet, {}, sweep=False, progress=SILENT)


def main() -> None:
    """Print a table per log and variant."""
    choose.log_candidates = lambda *_: None  # there is no MLflow store
    for log in sys.argv[1:] or LOGS:
        params = params_of(log, "facets.behaviour.n_segments=8")
        with tempfile.TemporaryDirectory() as folder, connect(params.engine, folder=Path(folder)) as con:
            source = read_source(con, params, rejected_path=None)
            past, _ = build_cutoffs(DuckDB(con), source, params, last_only=False, progress=SILENT)
            profiles = build_profiles(DuckDB(con), source, params)
        further = (
            [choose_for_facet(profiles, past[:-1], params, 1).facet]
            if len(profiles.shop.spec.cut.categories) > 2
            else []
        )
        params = with_facets(params, [facets_of(params)[0], *further])
        for variant, overrides in (
            ("8 segments", None),
            ("8, balance chosen", ["facets.behaviour.try_n_segments=[8]"]),
            ("chosen", []),
        ):
            settings, title = params, variant
            if overrides is not None:
                behaviour = choose_for_facet(profiles, past[:-1], params_of(log, *overrides), 0)
                settings = with_facets(params, [behaviour.facet, *further])
                title = f"{variant}: {behaviour.choice.chosen.name if behaviour.choice else 'none'}"
            validity = measure_validity(past[-1], settings)
            print(f"\n{log}, {validity.cutoff:%Y-%m-%d}, {validity.customer_count:,} customers; {title}")
            for name, figures in validity.rows.items():
                cells = (f"{key} {one.mean:.3f} ({one.low:.3f}-{one.high:.3f})" for key, one in figures.items())
                print(f"  {name:<34}", *cells)
            print(
                "  share of the ceiling's gain retained:",
                {key: f"{share:.0%}" for key, share in validity.kept.items()},
                flush=True,
            )


if __name__ == "__main__":
    main()
