"""The addresses of the page and what each shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from features.journey import JOURNEY_EVENTS
from pipeline.audiences.changes import kept_changes
from pipeline.audiences.exports import templates
from pipeline.audiences.selection import AudienceError
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.ingest.customers.identities import resolve_ids
from pipeline.page import audience_form, views
from pipeline.page.access import Access
from pipeline.page.audience_form import read_form
from pipeline.page.campaigns import VERDICTS, campaigns
from pipeline.page.scores import Scores
from pipeline.page.wording import LANGUAGES, PageWording, segment_texts
from pipeline.report.next_steps import command
from pipeline.report.publish import SEGMENTS_JSON
from pipeline.stores import writers
from pipeline.stores.local.work_folders import temporary_folder

TEMPLATES = Path(__file__).parent / "templates"
STYLE = TEMPLATES / "page.css"
FACETS = {"segment": "section.segments", "interest_segment": "section.interest"}
"""Column of a facet's segments -> key of its heading."""
PLAIN_CHOICES = {"next_tier": ("vip", "regular"), "journey_events": JOURNEY_EVENTS}
"""Columns whose values are ticked without a count."""
MAX_MOVES, MAX_DATES = 10, 12
Language = Literal["en", "uk", "ru", "sq"]


def build_app(params: Params, scores: Scores, access: Access) -> FastAPI:
    """The application; every request passes ``access`` first."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    pages = Pages(params, scores, access)
    app.add_api_route("/", pages.home, methods=["GET"])
    app.add_api_route("/page.css", pages.style, methods=["GET"])
    for path, view in {
        "": pages.overview,
        "segments": pages.segments,
        "crossing": pages.crossing,
        "audience": pages.audience,
        "customer": pages.customer_form,
        "changes": pages.changes,
        "campaigns": pages.campaigns,
    }.items():
        app.add_api_route(f"/{{language}}/{path}", view, methods=["GET"], response_model=None)
    app.add_api_route("/{language}/customer", pages.customer, methods=["POST"], response_model=None)
    app.add_api_route("/{language}/audience.csv", pages.export, methods=["POST"], response_model=None)
    for refused in (RequestValidationError, 404, 405):
        app.add_exception_handler(refused, _not_found)
    app.add_exception_handler(UserError, _unusable)
    app.middleware("http")(access)
    return app


def _not_found(request: Request, error: Exception) -> Response:
    return PlainTextResponse("kindred: there is no such page. Go to / for the overview.\n", status_code=404)


def _unusable(request: Request, error: Exception) -> Response:
    """What is wrong with the params or the files; such texts hold no data of customers."""
    return PlainTextResponse(f"kindred: {error}\n", status_code=503)


class Pages:
    """One method for each address."""

    def __init__(self, params: Params, scores: Scores, access: Access) -> None:
        self.params, self.scores, self.access = params, scores, access
        self.outputs = params.path(params.outputs.folder)
        self.min_group = params.naming.min_group
        self.templates = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )

    def home(self) -> Response:
        """The overview in the language of params.yaml."""
        return RedirectResponse(f"/{self.params.language}/", status_code=303)

    def style(self) -> Response:
        """The style sheet."""
        return FileResponse(STYLE, media_type="text/css")

    def overview(self, request: Request, language: Language) -> Response:
        """Headline figures, and what to do first."""
        with self.scores.reading() as scores:
            actions = scores.actions
            everyone = scores.everyone
            values: dict[str, Any] = {"totals": scores.totals, "money": scores.money}
        stages = views.group_rows(everyone, "lifecycle_stage", min_group=self.min_group, money=_first(scores.money))
        stages.sort(key=lambda stage: -stage.customer_count)
        listed = [
            {
                "action": action,
                "query": audience_form.query_text(action.where, action.order_by),
                "definition": audience_form.definition_text(action.definition, action.name),
                "command": command(self.params, "audience", action.name),
            }
            for action in actions
        ]
        return self._page(request, language, "overview", actions=listed, stages=stages, **values)

    def segments(self, request: Request, language: Language) -> Response:
        """A table of the segments of each facet."""
        with self.scores.reading() as scores:
            everyone, counted, money = scores.everyone, scores.counted, _first(scores.money)
        facets = [
            (column, heading, views.group_rows(everyone, column, min_group=self.min_group, money=money))
            for column, heading in FACETS.items()
            if column in counted
        ]
        return self._page(request, language, "segments", facets=facets, money=money)

    def crossing(self, request: Request, language: Language) -> Response:
        """The two facets crossed."""
        with self.scores.reading() as scores:
            everyone, counted, by_rule = scores.everyone, scores.counted, scores.rule_groups
        table = None
        if set(FACETS) <= set(counted):
            table = views.crossing(everyone, "interest_segment", "segment", min_group=self.min_group, left_out=by_rule)
        return self._page(request, language, "crossing", table=table, left_out=by_rule)

    def audience(self, request: Request, language: Language) -> Response:
        """The audience builder, with how many customers meet its conditions."""
        with self.scores.reading() as scores:
            columns, counted, money = scores.table.columns, scores.counted, scores.money
            form = read_form(parse_qs(request.url.query), columns)
            everyone = scores.everyone
            cube = scores.cube({column: value for column, value in form.where.items() if column not in counted})
            values: dict[str, Any] = {"categories": scores.categories, "columns": columns, "counted": counted}
        selection = views.selection(everyone, cube, form.where, counted=counted, money=money, min_group=self.min_group)
        return self._page(
            request,
            language,
            "audience",
            form=form,
            selection=selection,
            fields=audience_form,
            definition=audience_form.definition_text(form.definition),
            command=command(self.params, "audience", audience_form.DEFAULT_NAME),
            plain_choices=PLAIN_CHOICES,
            **values,
        )

    def export(self, request: Request, language: Language) -> Response:
        """The list of an audience as CSV, with formulas defused."""
        with self.scores.reading() as scores:
            form = read_form(request.state.form, scores.table.columns)
            try:
                audience = scores.audience(form.definition)
            except AudienceError:
                return self._page(request, language, "message", status=404, text="page.audience.nobody")
        with temporary_folder() as folder:
            path = folder / "audience.csv"
            writers.write_table(path, audience.table.drop(columns="group"), mode=0o600)
            content = path.read_bytes()
        name = f"kindred-audience-{audience.as_of:%Y-%m-%d}.csv"
        return Response(
            content, media_type="text/csv", headers={"Content-Disposition": f'attachment; filename="{name}"'}
        )

    def customer_form(self, request: Request, language: Language) -> Response:
        """The form for a customer id."""
        return self._page(request, language, "customer", customer=None, asked="", command="")

    def customer(self, request: Request, language: Language) -> Response:
        """What the scores say of one customer. The id was posted, so that it is in no address and no log."""
        asked = next(iter(request.state.form.get("customer_id", [])), "").strip()
        with self.scores.reading() as scores:
            customer = scores.customer(resolve_ids(scores.con, self.params, [asked]).get(asked, asked))
        status = 404 if customer is None else 200
        events = command(self.params, "explain", "CUSTOMER")
        return self._page(request, language, "customer", status=status, customer=customer, asked=asked, command=events)

    def changes(self, request: Request, language: Language) -> Response:
        """Who moved between two scorings."""
        paths = {path.stem: path for path in reversed(kept_changes(self.outputs))}
        asked = next(iter(parse_qs(request.url.query).get("as_of", [])), "")
        shown = asked if asked in paths else next(iter(paths), None)
        table: Mapping[str, Any] = {}
        with self.scores.reading() as scores:
            names = scores.names
            if shown is not None:
                table = views.moves(scores.changes(paths[shown]), min_group=self.min_group, max_rows=MAX_MOVES)
        dates = list(paths)[:MAX_DATES]
        tags = command(self.params, "changes")
        return self._page(
            request, language, "changes", dates=dates, shown=shown, moves=table, names=names, command=tags
        )

    def campaigns(self, request: Request, language: Language) -> Response:
        """Audiences that were written, and what their campaigns brought."""
        return self._page(
            request,
            language,
            "campaigns",
            campaigns=campaigns(self.params),
            verdicts=VERDICTS,
            command=command(self.params, "audience", audience_form.DEFAULT_NAME),
        )

    def _page(self, request: Request, language: Language, view: str, *, status: int = 200, **values: Any) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        address = request.url.path.removeprefix(f"/{language}/").removesuffix(".csv")
        words = PageWording(language, self.params, segment_texts(self.outputs / SEGMENTS_JSON))
        content = self.templates.get_template(f"{view}.html.j2").render(
            words=words,
            language=language,
            languages={code: (label, f"/{code}/{address}{query}") for code, label in LANGUAGES.items()},
            view=view,
            as_of=self.scores.as_of.isoformat(),
            form_token=self.access.form_token,
            min_group=self.min_group,
            horizon=words("days", count=self.params.backtest.horizon_days),
            tools=", ".join(templates()),
            **values,
        )
        return HTMLResponse(content, status_code=status)


def _first(money: tuple[str, ...]) -> str | None:
    """Money that tables show: what customers spent, or else are expected to."""
    return "spend" if "spend" in money else next(iter(money), None)
