"""What is refused, and the headers of every response."""

from __future__ import annotations

from http.cookies import SimpleCookie
from urllib.parse import urlencode

import pytest

from pipeline.page.access import ENTER, MAX_FORM_BYTES
from tests.pipeline.page.conftest import FORM, Client

VIEWS = ("", "segments", "crossing", "audience", "customer", "changes", "campaigns")
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def test_the_token_is_exchanged_for_a_strict_cookie(page: Client) -> None:
    answer = page.send("GET", page.access.address.removeprefix(f"http://127.0.0.1:{page.access.port}"), headers={})
    assert (answer.status, answer.headers["location"]) == (303, "/")
    (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
    assert (cookie.key, cookie.value) == (page.access.cookie, page.access.session)
    assert cookie["samesite"] == "strict" and cookie["httponly"] and cookie["path"] == "/" and not cookie["domain"]
    assert page.access.token not in answer.text + answer.headers["set-cookie"]
    assert page.get("/").headers["location"] == "/en/"


@pytest.mark.parametrize("token", ["", "x", "é", "../", "a" * 43])
def test_a_wrong_token_is_refused(page: Client, token: str) -> None:
    answer = page.send("GET", ENTER + urlencode({"": token})[1:], headers={})
    assert answer.status == 403 and "set-cookie" not in answer.headers


def test_the_token_may_not_be_posted(page: Client) -> None:
    assert page.send("POST", ENTER + page.access.token, "", {}).status == 403


@pytest.mark.parametrize("path", [*(f"/en/{view}" for view in VIEWS), "/", "/page.css", "/en/audience.csv", "/docs"])
@pytest.mark.parametrize("cookie", [None, "wrong", "", "token"])
def test_nothing_is_shown_without_the_cookie(page: Client, path: str, cookie: str | None) -> None:
    value = page.access.token if cookie == "token" else cookie
    headers = {} if cookie is None else {"Cookie": f"{page.access.cookie}={value}"}
    for method in ("GET", "POST"):
        answer = page.send(method, path, "" if method == "POST" else None, headers)
        assert answer.status == 403 and "VIP" not in answer.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", ""]
)
def test_another_host_is_refused_even_with_the_cookie_or_the_token(page: Client, host: str) -> None:
    headers = {**page.cookie, "Host": host.format(port=page.access.port)}
    for path in ("/en/", ENTER + page.access.token, "/page.css"):
        answer = page.send("GET", path, headers=headers)
        assert answer.status == 400 and "set-cookie" not in answer.headers


def test_localhost_is_the_same_host(page: Client) -> None:
    assert page.send("GET", "/en/", headers={**page.cookie, "Host": f"localhost:{page.access.port}"}).status == 200


@pytest.mark.parametrize("form_token", [None, "", "wrong", "session"])
@pytest.mark.parametrize("path", ["/en/customer", "/en/audience.csv"])
def test_a_form_without_its_token_is_refused(page: Client, path: str, form_token: str | None) -> None:
    token = page.access.session if form_token == "session" else form_token
    fields = {"customer_id": "c00001", **({} if token is None else {"form_token": token})}
    answer = page.send("POST", path, urlencode(fields), {**page.cookie, "Content-Type": FORM})
    assert answer.status == 403 and "c00001" not in answer.text


def test_only_short_forms_are_read(page: Client) -> None:
    body = urlencode({"form_token": page.access.form_token, "customer_id": "c00001"})
    assert page.send("POST", "/en/customer", body, {**page.cookie, "Content-Type": "text/plain"}).status == 415
    assert page.send("POST", "/en/customer", body, {**page.cookie, "Content-Type": FORM}).status == 200
    long = {**page.cookie, "Content-Type": FORM, "Content-Length": str(MAX_FORM_BYTES + 1)}
    assert page.send("POST", "/en/customer", body, long).status == 413
    chunked = {**page.cookie, "Content-Type": FORM, "Transfer-Encoding": "chunked"}
    assert page.send("POST", "/en/customer", f"{len(body):x}\r\n{body}\r\n0\r\n\r\n", chunked).status == 413


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
def test_other_methods_are_refused(page: Client, method: str) -> None:
    assert page.send(method, "/en/").status == 405


def test_every_response_has_the_headers(page: Client) -> None:
    answers = [page.get(f"/{language}/{view}") for language in ("en", "uk", "ru", "sq") for view in VIEWS]
    assert {answer.status for answer in answers} == {200}
    answers += [page.get("/page.css"), page.get("/"), page.get("/nothing"), page.get("/de/"), page.get("/openapi.json")]
    answers += [page.post("/en/customer", customer_id="c00001"), page.post("/en/audience.csv", segment="VIP")]
    answers += [page.post("/en/customer", customer_id="nobody"), page.post("/en/segments")]
    answers += [page.send("GET", "/en/", headers={}), page.send("GET", ENTER, headers={}), page.send("PUT", "/")]
    answers += [page.send("GET", ENTER + page.access.token, headers={})]
    answers += [page.send("GET", "/en/", headers={"Host": "evil.example"})]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, answer.status
        assert "server" not in answer.headers and "access-control-allow-origin" not in answer.headers
    assert {answer.status for answer in answers} == {200, 303, 400, 403, 404, 405}


def test_an_unexpected_error_shows_no_data(page: Client, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("c00001 spent 12")

    monkeypatch.setattr("pipeline.page.scores.Scores.customer", fail)
    answer = page.post("/en/customer", customer_id="c00001")
    assert answer.status == 500 and "RuntimeError" in answer.text and "c00001" not in answer.text
    assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"]
    assert capfd.readouterr() == ("", "")


def test_secrets_differ_at_each_start(page: Client) -> None:
    first, second = type(page.access)(1), type(page.access)(1)
    secrets = {first.token, first.session, first.form_token, second.token, second.session, second.form_token}
    assert len(secrets) == 6 and min(map(len, secrets)) >= 43
