"""The page in a browser: stepping, copying, links to a step, scripts off, a phone, printing. Where Chromium is installed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tiny_reports import hostile, many, some_verdicts

from conformance.report import document
from conformance.report.html import html

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FORMS = {"some": document.report(some_verdicts()), "many": many(60), "hostile": hostile()}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] * (os.geteuid() == 0))
        yield opened
        opened.close()


@pytest.fixture
def site(tmp_path: Path) -> str:
    for name, report in FORMS.items():
        (tmp_path / f"{name}.html").write_text(html(report))
    return tmp_path.as_uri()


def opened(browser: Browser, url: str, **context: object) -> Page:
    """Fails on anything that is loaded beside the page, and on errors of its script."""
    made = browser.new_context(**context)  # pyright: ignore[reportArgumentType]
    page = made.new_page()
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(url)
    assert loaded == [url.partition("#")[0]]
    return page


def shown(page: Page) -> tuple[str, str, list[str]]:
    """What the stepper of the open schedule says, which row is lit, and which steps are told in words."""
    schedule = page.locator("details.schedule[open]")
    told = schedule.locator(".steps > li:visible")
    return (
        schedule.locator("output").inner_text(),
        str(schedule.locator("svg .step.now").get_attribute("data-step")),
        [str(told.nth(n).get_attribute("data-step")) for n in range(told.count())],
    )


def test_a_step_that_a_reason_names_is_a_link(browser: Browser, site: str) -> None:
    page = opened(browser, f"{site}/some.html")
    page.locator("details.schedule.violated > summary", has_text="E2E-1").click()
    link = page.locator("details.schedule[open] .why a").last
    number = link.inner_text()
    link.click()
    assert shown(page)[:2] == (f"Step {number} of 7", number) and page.url.endswith(f"#E2E-1/{number}")


def test_arrow_keys_and_buttons_step(browser: Browser, site: str) -> None:
    page = opened(browser, f"{site}/some.html")
    page.locator("details.schedule.violated > summary", has_text="E2E-1").click()
    assert shown(page) == ("Step 1 of 7", "1", ["1"])
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert shown(page) == ("Step 3 of 7", "3", ["3"])
    assert page.url.endswith("#E2E-1/3")
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert shown(page)[0] == "Step 7 of 7"
    page.get_by_role("button", name="Previous step").locator("visible=true").click()
    assert shown(page) == ("Step 6 of 7", "6", ["6"])
    page.locator("details[open] svg .step[data-step='2']").click()
    assert shown(page)[1] == "2"


def test_a_link_leads_to_a_step(browser: Browser, site: str) -> None:
    page = opened(browser, f"{site}/some.html#E2E-1/4")
    assert shown(page) == ("Step 4 of 7", "4", ["4"])
    page.evaluate("location.hash = 'KVM-1/2'")
    page.locator("#KVM-1[open]").wait_for()
    assert page.locator("#KVM-1 output").inner_text() == "Step 2 of 6"


def test_the_replay_line_is_copied(browser: Browser, site: str) -> None:
    page = opened(browser, f"{site}/some.html#E2E-1", permissions=["clipboard-read", "clipboard-write"])
    page.locator("details[open] .copy").click()
    page.locator("details[open] .copy", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "intack replay intack2.abc.123"


def test_it_can_be_read_without_scripts(browser: Browser, site: str) -> None:
    page = opened(browser, f"{site}/some.html", java_script_enabled=False)
    page.locator("details.schedule.violated > summary", has_text="E2E-1").click()
    schedule = page.locator("details.schedule[open]")
    assert schedule.locator(".steps > li:visible").count() == 7
    assert schedule.locator("svg.lanes").is_visible()
    assert not schedule.locator(".stepper").is_visible() and not schedule.locator(".copy").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", FORMS)
def test_a_phone_needs_no_sideways_scrolling(browser: Browser, site: str, name: str, scheme: str) -> None:
    page = opened(browser, f"{site}/{name}.html#E2E-1", viewport={"width": 360, "height": 740}, color_scheme=scheme)
    assert page.locator("details.schedule[open]").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_paper_shows_what_is_folded(browser: Browser, site: str) -> None:
    page = opened(browser, f"{site}/some.html")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.schedule:not([open])").count() == 0
    assert page.locator("#E2E-1 .steps > li:visible").count() == 7


# No browser needed


def test_colours_can_be_told_from_the_paper() -> None:
    """Text as WCAG 2 asks of it: 4.5 to 1."""
    css = (Path(document.__file__).parent / "templates/report.css").read_text()
    light, dark = (dict(re.findall(r"--(\w+): (#\w+)", block)) for block in re.findall(r":root {([^}]*)}", css))
    for scheme in (light, dark):
        for name in set(scheme) - {"paper", "panel", "line", "now"}:
            for ground in ("paper", "panel"):
                assert contrast(scheme[name], scheme[ground]) >= 4.5, (name, ground)
        assert contrast(scheme["ink"], scheme["now"]) >= 4.5


def contrast(one: str, other: str) -> float:
    lights = sorted((luminance(one), luminance(other)), reverse=True)
    return (lights[0] + 0.05) / (lights[1] + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    parts = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
