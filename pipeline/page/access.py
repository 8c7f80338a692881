"""Who may use the page: only a browser on this machine that opened the address printed at the start."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from fastapi import Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response

ENTER = "/enter/"
METHODS = ("GET", "POST")
FORM_TYPE = "application/x-www-form-urlencoded"
MAX_FORM_BYTES = 65_536
SECRET_BYTES = 32
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every response."""
Handler = Callable[[Request], Awaitable[Response]]


def _secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)


@dataclass(frozen=True)
class Access:
    """Secrets of one run of the page, and what is checked before anything else is done.

    Attributes
    ----------
    token : str
        Part of the address printed at the start.
    session : str
        Value of the cookie that the token is exchanged for.
    form_token : str
        In every form that is posted, so that no other site can post it.
    """

    port: int
    token: str = field(default_factory=_secret)
    session: str = field(default_factory=_secret)
    form_token: str = field(default_factory=_secret)

    @property
    def address(self) -> str:
        """Address to open in a browser."""
        return f"http://127.0.0.1:{self.port}{ENTER}{self.token}"

    @property
    def cookie(self) -> str:
        """Name of the cookie. Ports share cookies, so two pages would otherwise overwrite each other's."""
        return f"kindred-{self.port}"

    async def __call__(self, request: Request, handle: Handler) -> Response:
        """Answer, or refuse. An unexpected error is answered without its text, which may hold data of customers."""
        try:
            response = self._entrance(request) or await self._refusal(request) or await handle(request)
        except Exception as error:
            response = _refused(500, f"unexpected error ({type(error).__name__}). Reload the page.")
        response.headers.update(HEADERS)
        return response

    def _entrance(self, request: Request) -> Response | None:
        """The cookie for the token; None for any other address, and for a foreign host."""
        if not request.url.path.startswith(ENTER) or not self._is_own_host(request):
            return None
        if request.method != "GET" or not _is_same(request.url.path.removeprefix(ENTER), self.token):
            return _refused(403, "this token is not valid. Open the address that `kindred serve` printed last.")
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(self.cookie, self.session, httponly=True, samesite="strict", path="/")
        return response

    async def _refusal(self, request: Request) -> Response | None:
        if not self._is_own_host(request):
            return _refused(400, f"expected the host 127.0.0.1:{self.port} or localhost:{self.port}.")
        if request.method not in METHODS:
            return _refused(405, f"expected one of {', '.join(METHODS)}.")
        if not _is_same(request.cookies.get(self.cookie, ""), self.session):
            return _refused(403, "open the address that `kindred serve` printed; it holds the token for this page.")
        return await self._form_refusal(request) if request.method == "POST" else None

    async def _form_refusal(self, request: Request) -> Response | None:
        """Read the form into ``request.state.form``; a response if it may not be used."""
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_FORM_BYTES:
            return _refused(413, f"expected a form of at most {MAX_FORM_BYTES:,} bytes.")
        if request.headers.get("content-type", "").partition(";")[0] != FORM_TYPE:
            return _refused(415, f"expected a form ({FORM_TYPE}).")
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        if not _is_same(form.pop("form_token", [""])[0], self.form_token):
            return _refused(
                403, "this form is of an earlier run of `kindred serve`. Reload the page and send it again."
            )
        request.state.form = form
        return None

    def _is_own_host(self, request: Request) -> bool:
        return request.headers.get("host", "") in (f"127.0.0.1:{self.port}", f"localhost:{self.port}")


def _is_same(text: str, secret: str) -> bool:
    return secrets.compare_digest(text.encode(), secret.encode())


def _refused(status: int, message: str) -> Response:
    return PlainTextResponse(f"kindred: {message}\n", status_code=status)
