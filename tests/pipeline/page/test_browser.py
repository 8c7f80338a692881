"""The page in headless Chromium: the policy blocks nothing of ours, it fits phones, and axe finds no barriers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pipeline.page.conftest import Client
from tests.pipeline.report.axe import AXE, CHROMIUM, needs_axe

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

pytestmark = [needs_axe, pytest.mark.slow]
ADDRESSES = (
    *("", "segments", "crossing", "changes", "campaigns", "customer"),
    *("audience", "audience?segment=VIP&spend.min=10&spend.max=x", "audience?segment=Few&spend.min=9999"),
)
BARRIERS = "axe.run().then(found => found.violations.map(rule => [rule.id, rule.nodes.map(node => node.html)]))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def opened(browser: Any, client: Client, messages: list[str], **options: Any) -> Any:
    """A tab that came in with the address printed at the start."""
    tab = browser.new_context(**options).new_page()
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.goto(client.access.address)
    return tab


def assert_accessible(tab: Any) -> None:
    tab.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert tab.evaluate(AXE.read_text(encoding="utf-8") + ";" + BARRIERS) == []


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barriers_and_the_policy_blocks_nothing(
    browser: Any, page: Client, width: int, scheme: str
) -> None:
    messages: list[str] = []
    tab = opened(browser, page, messages, viewport={"width": width, "height": 900}, color_scheme=scheme)
    base = f"http://127.0.0.1:{page.access.port}"
    assert tab.url == f"{base}/en/"
    for language, addresses in {"en": ADDRESSES, "uk": ADDRESSES[:3], "sq": ADDRESSES[-2:]}.items():
        for address in addresses:
            tab.goto(f"{base}/{language}/{address}")
            assert_accessible(tab)
    tab.goto(f"{base}/ru/customer")
    tab.fill("#customer_id", page.scores.customer_id[10])
    with tab.expect_navigation():
        tab.click("main button")
    assert tab.url == f"{base}/ru/customer" and tab.locator("dl").count() == 4
    assert_accessible(tab)
    assert messages == []


def test_an_audience_is_built_and_downloaded_without_scripts(browser: Any, page: Client) -> None:
    tab = opened(browser, page, [], java_script_enabled=False)
    with tab.expect_navigation():
        tab.click("text=Build an audience")
    tab.click("summary:has-text('Temperature')")
    tab.check("input[name=temperature][value=hot]")
    tab.fill("input[name='spend.min']", "50")
    with tab.expect_navigation():
        tab.click("text=Count")
    count = int(((page.scores.temperature == "hot") & (page.scores.spend >= 50)).sum())
    assert tab.inner_text(".total") == f"{count} customers"
    with tab.expect_download() as started:
        tab.click("text=Download the list (CSV)")
    lines = started.value.path().read_text(encoding="utf-8").splitlines()
    assert started.value.suggested_filename == "kindred-audience-2025-12-01.csv" and len(lines) == count + 1


def test_a_tab_without_the_token_sees_nothing_and_scripts_do_not_run(browser: Any, page: Client) -> None:
    tab = browser.new_context().new_page()
    answer = tab.goto(f"http://127.0.0.1:{page.access.port}/en/")
    assert answer.status == 403 and "VIP" not in tab.content()
    messages: list[str] = []
    inside = opened(browser, page, messages)
    inside.evaluate("document.body.append(Object.assign(document.createElement('img'), {src: 'http://127.0.0.1:9/x'}))")
    inside.evaluate("document.body.setAttribute('style', 'color: red')")
    inside.wait_for_timeout(200)
    assert any("img-src" in message for message in messages)
