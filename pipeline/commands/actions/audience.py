"""`kindred audience`: writes the customers that an action is for, and keeps who was held out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

import ibis.expr.types as ir
import pyarrow as pa

from pipeline.audiences.build import HELD_OUT, SEND, Audience, build_audience
from pipeline.audiences.effect import effect_command
from pipeline.audiences.exclusions import excluded_customers
from pipeline.audiences.exports import export, require_tool
from pipeline.audiences.monday import CANDIDATES, action_audience
from pipeline.audiences.scores import read_scores
from pipeline.audiences.segment_conditions import (
    SegmentHistory,
    read_history,
    require_segments,
    scored_segments,
    segment_name,
)
from pipeline.audiences.selection import CATEGORY, AudienceError, Condition, EmptyAudienceError, meets
from pipeline.audiences.storage import control_key, has_other_conditions, list_folder, store
from pipeline.audiences.summary import WrittenAudience
from pipeline.config.params import Params
from pipeline.config.sections.audiences import AudienceParams
from pipeline.ingest.customers.contacts import Contacts, read_contacts
from pipeline.ingest.files.raw_tables import resolve_files, source_files
from pipeline.stores import files, mlflow_runs
from pipeline.stores.databases.tables import target_tables
from pipeline.stores.databases.target_table import AUDIENCE_PREFIX, TargetTable
from pipeline.stores.workspace import Workspace, workspace
from pipeline.stores.writers import DATABASES, EXPORTS, export_table, require_known_suffix

LIST_COLUMNS = (
    *("customer_id", "position", "segment", "interest_segment"),
    *("days_since_last_purchase", "order_count", "spend", "buy_probability", "expected_spend"),
)
OPTIONS = {"segment": "--segment", "interest_segment": "--interest", CATEGORY: "--category"}
"""Column of a condition -> the option that sets it."""


@dataclass(frozen=True)
class AudienceOptions:
    """What the command line asks for.

    Attributes
    ----------
    name : str or None
        An audience of params.yaml, or an action of `pipeline.audiences.monday`. None: all audiences of params.yaml, or
        the one that ``segments`` and the other conditions make.
    segments, interests, categories : sequence of str
        Names or ids.
    tool : str or None
        A template of `pipeline.audiences.exports`.
    """

    name: str | None = None
    segments: Sequence[str] = ()
    interests: Sequence[str] = ()
    categories: Sequence[str] = ()
    tool: str | None = None
    out: Path | None = None
    holdout: float | None = None
    limit: int | None = None


@dataclass(frozen=True)
class AudiencesResult:
    """The audiences that were written, which of all have nobody, and why others were not written."""

    written: list[WrittenAudience]
    empty: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def as_text(self) -> str:
        """Funnel, groups and files of each audience, and notes on those without customers."""
        notes = [f"Note            not written: {text}" for text in self.empty]
        return "\n\n".join([*(audience.as_text() for audience in self.written), *notes])


@dataclass(frozen=True)
class _Shop:
    """What audiences are made from; contacts and the history of segments are read when they are needed first."""

    session: Workspace
    scores: ir.Table
    segments: dict[str, dict[str, str]]
    as_of: datetime
    model_uri: str
    run_id: str

    @cached_property
    def history(self) -> SegmentHistory:
        params = self.session.params
        if not mlflow_runs.has_store(params):
            return SegmentHistory()
        return read_history(self.session.store, self.run_id)

    @cached_property
    def contacts(self) -> Contacts:
        params = self.session.params
        if params.contacts is None:
            raise AudienceError(
                "contacts: expected a table with customer_id, email or phone, and consent, as an export and "
                "`without_consent` need it. "
                f"Name it in {params.file_name}, such as contacts: {{path: contacts.csv}}."
            )
        return read_contacts(self.session.con, params.contacts, params)


def audience(params: Params, options: AudienceOptions) -> AudiencesResult:
    """Build audiences on the scores, keep their groups, and write their lists.

    Raises
    ------
    UserError
        The scores, the contacts or the one audience asked for cannot be used. If all audiences are asked for, those
        that can be made are written; those without customers are in ``empty``, and the others in ``failures``.
    """
    _check(params, options)
    with workspace(params) as session:
        shop = _open_shop(session)
        definitions, names, labels = _asked_for(shop, options)
        result = AudiencesResult([])
        for name in names:
            try:
                result.written.append(_write(shop, name, definitions, options, labels=labels))
            except AudienceError as error:
                if options.name is None and not labels and isinstance(error, EmptyAudienceError):
                    result.empty.append(str(error))
                elif len(names) > 1:
                    result.failures.append(str(error))
                else:
                    raise
    return result


def _check(params: Params, options: AudienceOptions) -> None:
    conditions = (*options.segments, *options.interests, *options.categories)
    if options.name is not None and conditions:
        raise AudienceError("expected either NAME or --segment, --interest and --category, not both.")
    if options.name is not None and options.name not in (*params.audiences, *CANDIDATES):
        known = ", ".join(params.audiences) or "none yet"
        raise AudienceError(
            f"audiences: expected one of {params.file_name} ({known}), or of the report's actions "
            f"({', '.join(CANDIDATES)}); there is no audience {options.name!r}."
        )
    if options.name is None and not conditions and not params.audiences:
        raise AudienceError(
            f"audiences: expected at least one in {params.file_name}, or --segment, --interest or --category."
        )
    if options.holdout is not None and not 0.0 <= options.holdout < 1.0:
        raise AudienceError(
            f"--holdout {options.holdout:g}: expected a share of the audience that is not sent the campaign, such as "
            "0.1; 0 holds out nobody, and 1 would leave nobody to send to."
        )
    if options.limit is not None and options.limit < 1:
        raise AudienceError(f"--limit {options.limit}: expected a number of customers, at least 1.")
    if options.tool is not None:
        require_tool(options.tool)
    if options.out is not None:
        require_known_suffix(options.out, key="--out", suffixes=EXPORTS)
        is_several = options.name is None and not conditions and len(params.audiences) > 1
        if is_several and options.out.suffix not in DATABASES:
            raise AudienceError(
                f"--out {options.out.name}: expected NAME, as a file holds one audience; a database "
                f"({' or '.join(DATABASES)}) holds all of them."
            )
        files.require_not_read(options.out, [*_inputs(params)])


def _inputs(params: Params) -> Iterator[Path]:
    yield from (params.path(params.outputs.scores), *source_files(params))
    if params.contacts is not None and params.contacts.path is not None:
        yield from resolve_files(params.contacts, params, key="contacts")


def _open_shop(session: Workspace) -> _Shop:
    scores = read_scores(session.con, session.params.path(session.params.outputs.scores))
    first = session.con.to_pandas(scores.select("as_of", "model_uri", "run_id").limit(1))
    if first.empty:
        raise AudienceError("the scores have no customer. Run `kindred score` on a log with events.")
    as_of, model_uri, run_id = first.iloc[0]
    return _Shop(session, scores, scored_segments(session.con, scores), as_of.to_pydatetime(), model_uri, run_id)


def _asked_for(shop: _Shop, options: AudienceOptions) -> tuple[dict[str, AudienceParams], list[str], Mapping[str, str]]:
    """Definitions of all audiences, names of those to write, and the options that conditions come from."""
    definitions = dict(shop.session.params.audiences)
    labels: Mapping[str, str] = {}
    if options.segments or options.interests or options.categories:
        name, where = _from_options(shop, options)
        definitions[name], names, labels = AudienceParams.model_validate({"where": where}), [name], OPTIONS
    else:
        names = [*definitions] if options.name is None else [options.name]
        if options.name is not None and options.name not in definitions:
            definitions[options.name] = action_audience(shop.session.con, shop.scores, options.name)
    changes = {"holdout_share": options.holdout, "limit": options.limit}
    update = {key: value for key, value in changes.items() if value is not None}
    return definitions | {name: definitions[name].model_copy(update=update) for name in names}, names, labels


def _from_options(shop: _Shop, options: AudienceOptions) -> tuple[str, dict[str, list[str]]]:
    """A name and the conditions for ``--segment`` and the like; ``--interest`` finds categories as well.

    The name is that of the segment, and the options of other conditions are part of it.
    """
    where: dict[str, list[str]] = {}
    for text in options.segments:
        names = shop.segments["segment"]
        where.setdefault("segment", []).append(segment_name(text, names) or text)
    interests = shop.segments.get("interest_segment", {})
    for text in options.interests:
        name = segment_name(text, interests)
        column = CATEGORY if name is None and _has_category(shop, text) else "interest_segment"
        where.setdefault(column, []).append(name or text)
    if options.categories:
        where.setdefault(CATEGORY, []).extend(options.categories)
    prefixes = {column: [] if column == "segment" else [OPTIONS[column]] for column in where}
    words = [word for column, values in where.items() for word in (*prefixes[column], *values)]
    slug = "-".join(re.sub(r"\W+", "-", word).strip("-").lower() for word in words)
    return slug or "list", where


def _has_category(shop: _Shop, category: str) -> bool:
    separator = shop.session.params.source.category_separator
    condition = meets(shop.scores, CATEGORY, category, separator=separator)
    return bool(shop.session.con.execute(condition.any()))


def _write(
    shop: _Shop,
    name: str,
    definitions: Mapping[str, AudienceParams],
    options: AudienceOptions,
    *,
    labels: Mapping[str, str],
) -> WrittenAudience:
    """Build one audience, keep it, then write its list: a list that was sent has always been kept before."""
    session, params = shop.session, shop.session.params
    _require_all_segments(shop, name, definitions, labels)
    outputs, built = params.path(params.outputs.folder), _build(shop, name, definitions)
    if not built.count(SEND):
        raise AudienceError(f"audiences.{name}: all {len(built.table):,} customers are held out. Lower the holdout.")
    out = options.out or list_folder(outputs) / f"{name}{f'-{options.tool}' if options.tool else ''}.csv"
    measure = effect_command(params, name, built.as_of) if built.count(HELD_OUT) else ""
    is_other = options.out is None and out.exists() and has_other_conditions(outputs, built)
    written = WrittenAudience(built, out, next_command=measure, has_replaced_other=is_other)
    rows = built.table[built.table["group"] == SEND]
    table = rows[[column for column in LIST_COLUMNS if column in rows]]
    if options.tool is not None:
        contacts = shop.contacts
        made = export(built.table, session.con.to_pandas(contacts.table), name=name, tool=options.tool)
        if made.table.empty:
            raise AudienceError(f"audiences.{name}: no customer has an address that {options.tool} can use.")
        table, written = made.table, replace(written, export=made, contacts_notes=_contacts_notes(shop, built))
    store(outputs, built, model_uri=shop.model_uri)
    files.note_elsewhere(outputs, out)
    export_table(out, table, name=name, mode=files.PRIVATE)
    target = target_tables(params) if options.out is None and options.tool is None else None
    if target is not None:
        listed = TargetTable(f"{AUDIENCE_PREFIX}{name}", pa.Table.from_pandas(table, preserve_index=False))
        written = replace(written, tables=target.write([listed])[0].as_text())
    return written


def _build(shop: _Shop, name: str, definitions: Mapping[str, AudienceParams]) -> Audience:
    con, params = shop.session.con, shop.session.params
    return build_audience(
        con,
        shop.scores,
        name,
        definitions,
        excluded=excluded_customers(
            con,
            shop.scores,
            definitions[name],
            params,
            name=name,
            as_of=shop.as_of,
            contacts=lambda: shop.contacts,
        ),
        key=control_key(params.path(params.outputs.folder)),
        separator=params.source.category_separator,
    )


def _require_all_segments(
    shop: _Shop, name: str, definitions: Mapping[str, AudienceParams], labels: Mapping[str, str]
) -> None:
    """Check the segments that the audience and those it excludes name."""
    waiting, seen = [name], set()
    while waiting:
        current = waiting.pop()
        if current in seen or current not in definitions:
            continue
        seen.add(current)
        where: Mapping[str, Condition] = definitions[current].where
        keys = {column: labels.get(column, f"audiences.{current}.where.{column}") for column in where}
        require_segments(where, shop.segments, lambda: shop.history, labels=keys)
        waiting += definitions[current].exclude.audiences


def _contacts_notes(shop: _Shop, built: Audience) -> list[str]:
    contacts, con = shop.contacts, shop.session.con
    notes = [*contacts.warnings]
    if contacts.repeated_count:
        notes.append(f"{contacts.repeated_count:,} rows of the contacts repeat a customer; the first was taken")
    if contacts.unclear_count:
        notes.append(f"{contacts.unclear_count:,} answers on consent cannot be read and count as no")
    if not contacts.has_consent:
        notes.append("the contacts have no column of consent, so the file may hold customers who have not agreed")
    elif not built.definition.exclude.without_consent:
        agreed = set(con.to_pandas(contacts.table.filter(contacts.table.consent).select("customer_id"))["customer_id"])
        rows = built.table[built.table["group"] == SEND]
        if missing := int((~rows["customer_id"].isin(agreed)).sum()):
            notes.append(f"{missing:,} have not agreed to be contacted; to leave them out: exclude.without_consent")
    return notes
