"""`kindred score`: raw events -> a segment for every customer, with the model's own columns, weights and names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from features.categories import OTHER
from features.events import ObservationWindow
from features.interests import SHARE_PREFIX
from features.journey import JOURNEY_EVENTS, JOURNEY_PREFIX
from features.profile import ProfileSpec
from features.seasons import SEASONS
from models.scorer import Floats
from pipeline import beware, outputs, registry, tracking
from pipeline.commands import command
from pipeline.engines import connect
from pipeline.errors import UserError
from pipeline.files import source_files
from pipeline.hysteresis import AS_OF, hold, last_scores
from pipeline.params import Params
from pipeline.profiles import Profiles, Progress, build_profiles
from pipeline.queries import counts_text
from pipeline.report.tables import counted
from pipeline.seasons import expected_of, season_mix, shop_sums
from pipeline.shop import load_shop
from pipeline.sources import read_source
from pipeline.update import Updated
from pipeline.update import update as update_profiles

FROM_PROFILE = (
    "lifecycle_stage",
    "temperature",
    "rfm_group",
    "value_tier",
    "days_since_last_purchase",
    "order_count",
    "spend",
)
AT_THE_END = (
    "usual_interval_days",
    "interval_variation",
    "holiday_order_share",
    "gift_order_share",
    "payday_order_share",
    "campaign_response",
    "click_rate",
    "next_tier",
    "next_tier_needs",
    "redemptions_per_order",
    "returned_spend",
)
"""Columns of the profile that came to the scores later: their readers count columns from the left."""
BLOCK_ROWS = 50_000
"""Customers whose expected evidence is in memory at once."""


@dataclass(frozen=True)
class Scored:
    """What a scoring made."""

    path: Path
    model_uri: str
    summary: dict[str, Any]
    following: str

    def as_text(self) -> str:
        """Rows per segment beside training, and what else to know."""
        lines = [f"{'Segment':<44}{'Customers':>12}{'Share':>9}{'At training':>13}"]
        lines += [
            f"{row['name'][:42]:<44}{row['customer_count']:>12,}{row['customer_share']:>9.1%}"
            + (f"{row['trained_share']:>13.1%}" if row["trained_share"] is not None else f"{'-':>13}")
            for row in self.summary["segments"].values()
        ]
        new, drift = self.summary["new_categories"], self.summary["mix_drift"]
        lines += [
            "",
            f"Low evidence    {self.summary['low_evidence_count']:,} of {self.summary['customer_count']:,} customers",
            "Drift           "
            + ("unknown" if drift is None else f"{drift:.1%} of customers would have to move for the mix of training"),
        ]
        if noise := self.summary["noise_count"]:
            lie = "lies" if noise == 1 else "lie"
            lines.append(f"Between         {counted(noise, 'customer')} {lie} between the segments (noise)")
        lines.append(_border_text(self.summary))
        lines += self.summary.get("update", [])
        if new:
            told = ", ".join(f"{name[:40]} ({counted(count, 'event')})" for name, count in list(new.items())[:5])
            lines.append(f"New categories  {len(new):,}, counted as other: {told}")
        if told := counts_text(self.summary["queries"]):
            lines.append(told.replace("Searches: of", "Searches        of", 1))
        lines += [f"Beware          {told}" for told in self.summary["beware"]]
        lines += [
            f"Model           {self.model_uri}",
            f"Scores          {self.path}",
            f"Next            {self.following}    # why somebody is where they are; CUSTOMER: an id of the scores",
        ]
        return "\n".join(lines)


def score(
    params: Params, *, model_uri: str, out: Path, progress: Progress, update: bool = False, force: bool = False
) -> Scored:
    """Score every customer known at ``params.as_of``; with ``update``, from the state of an earlier time.

    The profile's columns, weights and names are those of the model; where the events lie, and as_of, are those of
    ``params``.

    Raises
    ------
    UserError
        The model or the source cannot be used, or, without ``force``, the model looks like another shop's; the old
        scores stay as they were.
    """
    if out.suffix not in (".parquet", ".csv"):
        raise outputs.OutputError(f"--out {out.name}: expected a name that ends in .parquet or .csv.")
    outputs.require_not_read(out, source_files(params))
    folder = params.path(params.outputs.folder)
    with outputs.lock(folder), connect(params.engine, folder=folder) as con:
        mlflow = tracking.open_store(params)
        model = registry.load_model(mlflow, model_uri)
        shop, trained = load_shop(model.shop_folder, params.folder)
        rejected_path = out.with_name(f"{out.stem}-rejected.parquet")
        as_trained = trained.model_copy(update={"as_of": params.as_of})
        columns = profile_columns(model, shop.spec)
        updated: Updated | None = None
        if update:
            updated = update_profiles(
                con,
                params,
                as_trained,
                shop=shop,
                model_uri=model.uri,
                rejected_path=rejected_path,
                progress=progress,
                columns=columns,
            )
            profiles, reading, mix = updated.profiles, updated.reading, updated.season_mix
        else:
            progress("reading and checking")
            source = read_source(con, params, rejected_path=rejected_path)
            profiles = build_profiles(con, source, as_trained, shop=shop, progress=progress, columns=columns)
            window = ObservationWindow(params.as_of, shop.spec.history_days)
            sums = shop_sums(con, source.events, as_trained, window)
            mix = season_mix(sums, source, shop.spec, as_trained, window)
            reading = source.summary
        progress("scoring")
        predicted = model.predict(profiles.table)
        last = last_scores(out, model_uri=model.uri, as_of=params.as_of) if params.score.hysteresis else None
        held_count = 0
        if last is not None:
            predicted = hold(predicted, profiles.table.customer_id, last, margin=params.score.hysteresis)
            held_count = int(predicted.pop("is_held").sum())
        predicted = registry.renamed(predicted, registry.given_names(mlflow, params))
        table = score_table(profiles, predicted, as_trained, model, mix)
        summary = _summary(profiles, predicted, model, mlflow)
        signs = beware.of_another_shop(params, trained, profiles, summary["mix_drift"])
        if len(signs) > 1 and not force:
            raise UserError(
                f"{model.uri}: expected a model of this shop, found signs of another one: {', and '.join(signs)}. "
                f"{out.name} stays as it was. Name this shop's model with --model or tracking.model_name, or train "
                "one; if it is the same shop, add --force."
            )
        summary["beware"] = beware.of_moment(params, reading) + beware.of_model(params, trained, signs)
        if last is not None:
            summary["held"] = {"customer_count": held_count, "margin": params.score.hysteresis}
        progress("writing")
        outputs.write_table(out, table)
        outputs.write_manifest(
            out.with_name(f"{out.stem}-manifest.json"),
            run_id=model.run_id,
            params_digest=params.digest(),
            inputs={"source": reading.digest, "model": model.uri},
            outputs={"scores": out},
            versions=tracking.versions(),
            row_counts={"scores": table.num_rows, "rejected": reading.rejected_count},
        )
        if updated is not None:
            updated.save()
            summary["update"] = updated.told
        named = () if model_uri == params.tracking.champion_uri else ("--model", model_uri)
        return Scored(out, model.uri, summary, command(params, "explain", "CUSTOMER", *named))


def profile_columns(model: registry.LoadedModel, spec: ProfileSpec) -> set[str]:
    """Columns of the profile that the model and the scores are made of, and `beware.of_another_shop` reads."""
    shares = [SHARE_PREFIX + category for category in spec.cut.categories]
    events = [JOURNEY_PREFIX + name for name in JOURNEY_EVENTS]
    return {"customer_id", "evidence", SEASONS, *model.columns, *shares, *events, *FROM_PROFILE, *AT_THE_END}


def score_table(
    profiles: Profiles, predicted: pd.DataFrame, params: Params, model: registry.LoadedModel, mix: Floats
) -> pa.Table:
    """The scores contract: one row per customer, sorted by customer_id; ``mix`` as in `models.seasons.period_mixes`."""
    profile = profiles.table
    frame = pd.concat([profile[["customer_id"]], predicted.reset_index(drop=True), profile[[*FROM_PROFILE]]], axis=1)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    same = pa.array(np.zeros(len(frame), np.int64))
    table = table.add_column(1, "as_of", pa.array([params.as_of], AS_OF).take(same))
    top = [
        top_categories(
            profile[start : start + BLOCK_ROWS],
            profiles.shop.spec,
            mix,
            kappa=params.interests.kappa,
            most=params.naming.top_categories,
            min_lift=params.naming.min_lift,
            min_share=params.naming.min_interest_share,
        )
        for start in range(0, len(profile), BLOCK_ROWS)
    ]
    table = table.append_column("top_categories", pa.chunked_array(top, pa.list_(pa.string())))
    for name, value in (("model_uri", model.uri), ("run_id", model.run_id)):
        table = table.append_column(name, pa.array([value], pa.string()).take(same))
    table = table.append_column("journey_events", journey_events(profile))
    for name in AT_THE_END:
        kind = pa.string() if name in ("campaign_response", "next_tier") else pa.float64()
        table = table.append_column(name, pa.array(profile[name], kind, from_pandas=True))
    return table


def journey_events(profile: pd.DataFrame) -> pa.ListArray:
    """Each customer's journey events, in the order of `features.journey.JOURNEY_EVENTS`; empty where none holds."""
    held = profile[[JOURNEY_PREFIX + name for name in JOURNEY_EVENTS]].to_numpy(dtype=bool)
    offsets = np.concatenate([[0], held.sum(axis=1).cumsum()])
    names = pa.array(JOURNEY_EVENTS, pa.string())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), names.take(pa.array(np.nonzero(held)[1])))


def top_categories(
    profile: pd.DataFrame,
    spec: ProfileSpec,
    mix: Floats,
    *,
    kappa: float,
    most: int,
    min_lift: float,
    min_share: float,
) -> pa.ListArray:
    """Each customer's distinctive categories, the highest lift beside the shop at the same times first.

    Parameters
    ----------
    mix : float array of shape (n_slots, n_categories)
        `models.seasons.period_mixes`.

    Returns
    -------
    list of strings per customer; empty where no interest stands out.
    """
    names = spec.cut.categories
    expected = expected_of(profile, spec, mix, kappa=kappa)
    found: list[tuple[Any, Any, Any]] = []
    # Column by column, few shares are high enough to be looked at.
    for column, (name, of_shop) in enumerate(zip(names, spec.cut.mix, strict=True)):
        if name == OTHER or of_shop <= 0.0:
            continue
        shares = profile[SHARE_PREFIX + name].to_numpy(dtype=np.float64)
        rows = np.flatnonzero(shares >= min_share)
        # Rounded, so that lifts that differ by the last digit of a float are a tie.
        lifts = (shares[rows] / expected.of(column, rows)).round(7)
        is_high = (lifts >= min_lift) & (lifts > 0.0)
        found.append((rows[is_high], lifts[is_high], np.full(is_high.sum(), column)))
    if not found:
        return pa.array([[]] * len(profile), pa.list_(pa.string()))
    row, lift, place = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((-lift, row))  # which leaves ties in the order of columns
    counts = np.bincount(row, minlength=len(profile))
    rank = np.arange(len(row)) - np.repeat(counts.cumsum() - counts, counts)
    best = place[order][rank < most]
    offsets = np.concatenate([[0], np.minimum(counts, most).cumsum()])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(names, pa.string()).take(pa.array(best)))


def _border_text(summary: dict[str, Any]) -> str:
    told = f"On the border   {counted(summary['border_count'], 'customer')}"
    if summary["movable_count"]:
        told += f"; what would move {summary['movable_count']:,} of them is in what_would_move"
    held = summary.get("held")
    if held and (count := held["customer_count"]):
        told += (
            f"; {count:,} stay{'s' * (count == 1)} where the last scores had them, as the margin of the other segment "
            f"is below {held['margin']:g} (score.hysteresis)"
        )
    return told


def _summary(profiles: Profiles, predicted: pd.DataFrame, model: registry.LoadedModel, mlflow: Any) -> dict[str, Any]:
    """Counts only. A model outlives its run: without it, the mix of training is unknown."""
    try:
        _, _, trained = tracking.read_run(mlflow, model.run_id)
    except tracking.TrackingError:
        trained = {}
    shares = {one["segment_id"]: one["customer_share"] for one in trained.get("segments", [])}
    counts = predicted.groupby("segment_id").size().sort_values(ascending=False, kind="stable")
    names = predicted.drop_duplicates("segment_id").set_index("segment_id").segment.to_dict()
    now = {str(segment_id): count / len(predicted) for segment_id, count in counts.items()}
    drift = sum(abs(now.get(name, 0.0) - shares.get(name, 0.0)) for name in now.keys() | shares.keys()) / 2
    return {
        "customer_count": len(predicted),
        "low_evidence_count": int((predicted.evidence == "low").sum()),
        "segments": {
            segment_id: {
                "name": names[segment_id],
                "customer_count": int(counts[segment_id]),
                "customer_share": share,
                "trained_share": shares.get(segment_id),
            }
            for segment_id, share in now.items()
        },
        "mix_drift": float(drift) if shares else None,
        "noise_count": int((predicted.evidence == "noise").sum()),
        "border_count": int(predicted.is_border.sum()),
        "movable_count": int(predicted.what_would_move.notna().sum()),
        "queries": profiles.query_counts,
        "new_categories": dict(
            zip(profiles.new_categories.category, profiles.new_categories.event_count.astype(int), strict=True)
        ),
    }
