"""The page of the report: what to do first, tables to sort, folds, contents, colours and print."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.naming import LANGUAGES
from pipeline.report.pages.render import TEMPLATES
from pipeline.report.texts.wording import wording
from tests.pipeline.report.axe import CHROMIUM
from tests.pipeline.report.test_report import everything, luminance, render, segment, summary, text_of
from tests.pipeline.report.test_report_of_facets import all_parts, section

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
CARTS = {"name": "remind_of_carts", "customer_count": 168, "money": 12_257.9, "money_column": "expected_spend"}
VIPS = {"name": "keep_vips", "customer_count": 31, "money": None, "money_column": "expected_spend"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def opened(browser: Any, page: str, *, width: int = 1280, **options: Any) -> Any:
    tab = browser.new_context(viewport={"width": width, "height": 800}, **options).new_page()
    tab.set_content(page)
    return tab


def test_monday_comes_first_with_headcount_money_and_command() -> None:
    page = render(summary(segment("s01", "VIP")) | {"actions": [CARTS, VIPS]}, "en")
    text = text_of(section(page, "monday"))
    assert page.index('<h2 id="monday">') < page.index('<h2 id="segments">')
    assert "Ranked by money at stake: what these customers are expected to spend in 30 days." in text
    assert "Remind customers of the carts they left 12,258 · 168 customers" in text
    assert "kindred audience remind_of_carts" in text
    assert re.search(r"Look after VIPs whose behaviour is changing 31 customers", text)  # its money is hidden
    plain = [CARTS | {"money": None, "money_column": None}]
    assert "Ranked by the number of customers." in text_of(
        section(render(summary(segment("s01", "VIP")) | {"actions": plain}, "en"), "monday")
    )


def test_a_report_without_actions_has_no_monday() -> None:
    page = render(summary(segment("s01", "VIP")), "en")
    assert 'id="monday"' not in page and "#monday" not in page


def test_commands_name_the_params_file_of_the_training() -> None:
    report = summary(segment("s01", "VIP"), params_file="my shop.yaml") | {"actions": [CARTS]}
    text = text_of(render(report, "en"))
    assert "kindred audience remind_of_carts --params &#39;my shop.yaml&#39;" in text
    assert "List: kindred audience --segment s01 --params" in text
    assert "List: kindred audience --interest i01" in text_of(render(all_parts(), "en"))


def test_the_table_of_segments_has_size_revenue_order_last_seen_trend_and_action() -> None:
    figures = {"customer_count": 100.0, "buyer_share": 1.0, "average_order_value": 72.5, "days_since_last_event": 12.25}
    flow = {"days": 30, "is_sample": False, "share": None, "net_share": 0.124}
    few = segment("s02", "Few", customer_count=10, is_small=True, figures={}, stability=None, spend_share=None)
    page = section(render(summary(segment("s01", "VIP", figures=figures, retention=flow), few), "en"), "segments")
    text = text_of(page)
    assert "Segment Customers Share of all customers Share of revenue Average order Last seen, days ago" in text
    assert "VIP 100 50% 50% 72.50 12.2 +12% Write." in text
    assert "Few &lt;10 50% – – – –" in text
    assert 'data-value="0.124"' in page


def test_figures_of_a_few_buyers_and_unstable_segments_have_no_cell() -> None:
    figures = {"customer_count": 100.0, "buyer_share": 0.01, "average_order_value": 72.5}
    report = summary(
        segment("s01", "VIP", figures=figures, is_stable=False, stability_word="unstable"), segment("s02", "B")
    )
    report["method"]["min_known_share"] = 0.05
    page = section(render(report, "en"), "segments")
    assert "Average order" not in page and "72.50" not in page  # nobody else has any
    assert page.count('<td class="action">Write.</td>') == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_headlines_name_who_gained_and_lost_most(language: str) -> None:
    page, words = render(everything(), language), wording(language)
    assert "VIP 0 (+12%)" in text_of(section(page, "segments")).replace("“", "").replace("”", "").replace(
        "«", ""
    ).replace("»", "")
    moved = text_of(section(page, "migration"))
    assert "(+20)" in moved and "(-20)" in moved and words.group("lapsed") in moved


def test_without_moves_there_is_no_headline() -> None:
    still = {"days": 30, "is_sample": False, "share": 1.0, "net_share": 0.001}
    report = summary(segment("s01", "VIP", retention=still), segment("s02", "B", retention=still | {"net_share": None}))
    text = text_of(section(render(report, "en"), "segments"))
    assert "Net flow" not in text and "VIP 100 50% 50% 0%" in text


def test_what_changed_is_counted() -> None:
    text = text_of(section(render(everything(), "en"), "changes"))
    assert "Since the training of 1 November 2025: 1 the same, 1 new or split off, 1 gone." in text


def test_every_table_has_a_caption_and_links_lead_somewhere() -> None:
    page = render(all_parts(), "en")
    assert page.count("<table") == page.count("<caption") > 20
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    assert page.index('<a class="skip" href="#content">') < page.index("<nav") < page.index('<main id="content">')


@needs_chromium
def test_cards_and_details_are_folded_and_the_first_sight_is_short(browser: Any) -> None:
    page = render(all_parts(), "en")
    assert "<details open" not in page
    seen, whole = (
        len(opened(browser, page).locator("main").evaluate(f"main => main.{text}").split())
        for text in ("innerText", "textContent")
    )
    assert seen < 0.5 * whole
    assert "<summary><h3>VIP 1</h3>" in page and "100 customers (50% of all), 50% of revenue</span></summary>" in page


@pytest.mark.parametrize("background", ["#ffffff", "#1e2127"], ids=["light", "dark"])
def test_colours_of_stages_stand_out_from_a_card(background: str) -> None:
    """WCAG 2.2, 1.4.11: at least 3:1."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    assert "--card: #ffffff" in style and "--card: #1e2127" in style
    colours = re.findall(r"\.stage-(\w+)[^{]*\{ fill: (#\w{6})", style)
    assert len(colours) >= 11
    for stage, colour in colours:
        one, other = (
            luminance(np.array([int(code[at : at + 2], 16) for at in (1, 3, 5)]) / 255) for code in (colour, background)
        )
        assert (max(one, other) + 0.05) / (min(one, other) + 0.05) >= 3.0, stage


def names(tab: Any) -> list[str]:
    return [
        text.removesuffix(" (unstable segment)")
        for text in tab.locator("table.sortable th[scope=row]").all_inner_texts()
    ]


SIZES = {"s01": 300, "s02": 100, "s03": 200}


def sizes_report() -> dict[str, Any]:
    orders = {"s01": 5.0, "s03": 50.0}
    parts = [
        segment(key, f"{'BCA'[place]} kind", customer_count=size, figures={"average_order_value": orders.get(key, 0.0)})
        for place, (key, size) in enumerate(SIZES.items())
    ]
    return summary(*parts)


@needs_chromium
def test_a_table_is_sorted_by_each_column_and_missing_figures_come_last(browser: Any) -> None:
    tab = opened(browser, render(sizes_report(), "en"))
    assert names(tab) == ["B kind", "C kind", "A kind"]
    for column, order in (
        ("Customers", ["B kind", "A kind", "C kind"]),
        ("Customers", ["C kind", "A kind", "B kind"]),
        ("Segment", ["A kind", "B kind", "C kind"]),
        ("Segment", ["C kind", "B kind", "A kind"]),
        ("Average order", ["A kind", "B kind", "C kind"]),
        ("Average order", ["B kind", "A kind", "C kind"]),
    ):
        tab.get_by_role("button", name=column, exact=True).click()
        assert names(tab) == order, column
    assert tab.locator("[aria-sort]").count() == 1
    assert tab.locator("[aria-sort=ascending]").inner_text().startswith("Average order")


@needs_chromium
def test_the_table_is_readable_without_scripts(browser: Any) -> None:
    tab = opened(browser, render(sizes_report(), "en"), java_script_enabled=False)
    assert names(tab) == ["B kind", "C kind", "A kind"] and tab.locator("table.sortable button").count() == 0


@needs_chromium
def test_tables_links_and_folds_work_in_the_frame_in_which_mlflow_shows_the_report(browser: Any) -> None:
    """MLflow 3.17 shows an artifact as a blob in a frame with ``sandbox="allow-scripts"``."""
    messages: list[str] = []
    tab = browser.new_page()
    tab.on("console", lambda message: messages.append(message.text))
    body = '<!DOCTYPE html><iframe sandbox="allow-scripts" style="width: 60rem; height: 40rem"></iframe>'
    tab.route("http://mlflow.test/", lambda route: route.fulfill(body=body, content_type="text/html"))
    tab.goto("http://mlflow.test/")
    blob = "URL.createObjectURL(new Blob([page], {type: 'text/html'}))"
    tab.evaluate(f"page => {{ document.querySelector('iframe').src = {blob}; }}", render(sizes_report(), "en"))
    frame = tab.frame_locator("iframe")
    frame.get_by_role("button", name="Segment", exact=True).click()
    assert frame.locator("table.sortable th[scope=row]").first.inner_text() == "A kind"
    frame.locator("table.sortable a").first.click()
    frame.locator("#card-s03").wait_for(state="visible")
    frame.get_by_role("link", name="Glossary").click()
    assert frame.locator("#glossary").evaluate("heading => heading.getBoundingClientRect().top < innerHeight")
    assert messages == []


@needs_chromium
@pytest.mark.parametrize(("width", "stays"), [(1280, True), (768, True), (360, False)])
def test_contents_stay_in_sight_but_on_a_phone_and_the_page_never_scrolls_sideways(
    browser: Any, width: int, stays: bool
) -> None:
    tab = opened(browser, render(all_parts(), "en"), width=width)
    tab.evaluate("scrollTo(0, 3000)")
    box = tab.locator("nav").bounding_box()
    assert (box["y"] >= 0) == stays
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    if width == 768:
        assert box["height"] < 60
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    assert tab.locator(".skip").bounding_box()["x"] >= 0


def print_pages(page: str, folder: Path) -> int:
    """Pages of the PDF that headless Chromium prints."""
    source, printed = folder / "page.html", folder / "page.pdf"
    source.write_text(page, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command = [str(CHROMIUM), *options, f"--print-to-pdf={printed}", source.as_uri()]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    return len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes()))


@needs_chromium
def test_print_is_whole_with_and_without_scripts(browser: Any, tmp_path: Path) -> None:
    page = render(all_parts(), "en")
    all_open, script = page.replace("<details", "<details open"), re.compile(r"<script>.*?</script>", re.DOTALL)
    whole = print_pages(script.sub("", all_open), tmp_path)
    folded = script.sub("", page).replace("details::details-content", "details::no-content")
    assert print_pages(script.sub("", page), tmp_path) == whole > print_pages(folded, tmp_path)
    assert print_pages(folded.replace("</body>", script.search(page)[0] + "</body>"), tmp_path) == whole
    tab = opened(browser, page, java_script_enabled=True)
    tab.emulate_media(media="print")
    hidden = (
        "[...document.querySelectorAll('main :is(p, td, th, li, dd, text)')].filter(part => !part.checkVisibility())"
    )
    assert tab.evaluate(f"{hidden}.map(part => part.outerHTML.slice(0, 80))") == []
