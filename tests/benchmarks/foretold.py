"""What segments of real logs foretell, beside other ways to group and beside the whole profile.

python tests/benchmarks/foretold.py [LOG ...]

For each log, as of its end less a horizon: 8 segments by behaviour with the settings of its parameters; 8 with the balance
of blocks chosen on the earlier cutoffs; and the number chosen too; each beside segments by interest as they are chosen, where
the log has categories. Reported on the last cutoff, with 95% intervals: each facet alone, and both.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.config.facets import facets_of, with_facets
from pipeline.config.load import load_params
from pipeline.config.params import Params
from pipeline.ingest.source import read_source
from pipeline.profiles.build import Profiles, build_profiles
from pipeline.segmentation import choose
from pipeline.segmentation.predictive_validity import Past, measure_validity, pasts
from pipeline.stores.database import connect

LOGS = {
    "tmall2014": ("2014-08-15T00:00:00Z", 123),
    "complete_journey": ("2017-12-31T00:00:00Z", 364),
    "online_retail": ("2011-12-09T00:00:00Z", 373),
}
"""Log -> its end, which is the as_of whose last cutoff is that of tests/real, and its days."""
HERE = Path(__file__).parents[1] / "real"


def quiet(step: str) -> None:
    """No progress."""


def given(log: str, *more: str) -> Params:
    """The parameters of a log, up to its end."""
    end, days = LOGS[log]
    return load_params(HERE / f"{log}.yaml", [f"as_of={end}", f"history_days={days}", "interests.fit=off", *more])


def chosen(profiles: Profiles, earlier: list[Past], params: Params, place: int) -> choose.Chosen:
    """The settings that are chosen for a facet of the parameters, by its place among them."""
    facet = facets_of(params)[place]
    return choose.choose_and_fit(None, profiles, earlier, params, facet, {}, sweep=False, progress=quiet)


def main() -> None:
    """Print a table per log and way to choose."""
    choose.log_candidates = lambda *_: None  # there is no store
    for log in sys.argv[1:] or LOGS:
        params = given(log, "facets.behaviour.n_segments=8")
        with tempfile.TemporaryDirectory() as folder, connect(params.engine, folder=Path(folder)) as con:
            source = read_source(con, params, rejected_path=None)
            past, _ = pasts(con, source, params, last_only=False, progress=quiet)
            profiles = build_profiles(con, source, params)
        further = [chosen(profiles, past[:-1], params, 1).facet] if len(profiles.shop.spec.cut.categories) > 2 else []
        params = with_facets(params, [facets_of(params)[0], *further])
        for way, more in (
            ("8 segments", None),
            ("8, balance chosen", ["facets.behaviour.try_n_segments=[8]"]),
            ("chosen", []),
        ):
            settings, title = params, way
            if more is not None:
                behaviour = chosen(profiles, past[:-1], given(log, *more), 0)
                settings = with_facets(params, [behaviour.facet, *further])
                title = f"{way}: {behaviour.choice.chosen.name if behaviour.choice else 'none'}"
            found = measure_validity(past[-1], settings)
            print(f"\n{log}, {found.cutoff:%Y-%m-%d}, {found.customer_count:,} customers; {title}")
            for name in found.rows:
                told = {key: f"{one.mean:.3f} ({one.low:.3f}-{one.high:.3f})" for key, one in found.rows[name].items()}
                print(f"  {name:<34}", *(f"{key} {text}" for key, text in told.items()))
            print(
                "  kept of the ceiling's gain:", {key: f"{share:.0%}" for key, share in found.kept.items()}, flush=True
            )


if __name__ == "__main__":
    main()
