"""The page in Chromium, wide and narrow: a text is asked for and comes, slots and pages change, what is pointed at or
has the focus is explained, and neither the console nor axe-core has anything to say.

Skipped without the packages (``pip install playwright axe-playwright-python``) or without a Chromium.
"""

import shutil

import pytest
import scoville_sim
from fake_chip import FakeChip
from scoville_host.runtime.many.serve import open_requests
from serving import alone, running, session_of

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
expect = sync_api.expect
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.heavy, pytest.mark.skipif(not CHROMIUM, reason="no chromium: apt-get install chromium")]
SIZES = {"wide": (1280, 900), "narrow": (390, 800)}


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=SIZES)
def page(browser, request):
    """A function of a server: its page. At the end the console has said nothing but what a test expects: `expected`."""
    width, height = SIZES[request.param]
    context, said = browser.new_context(viewport={"width": width, "height": height}), []
    found = context.new_page()
    found.on("console", lambda message: said.append(message.text))
    found.on("pageerror", lambda error: said.append(str(error)))

    def open_at(served, expected=None):
        open_at.expected = expected
        found.goto(served.url)
        found.locator("#counts dd").first.wait_for()
        return found

    yield open_at
    context.close()
    assert not [line for line in said if not open_at.expected or open_at.expected not in line]


def rules(page):
    """What axe-core finds fault with."""
    found = axe.Axe().run(page).response["violations"]
    return [(each["id"], node["html"]) for each in found for node in each["nodes"]]


def fits(page):
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def ask(page, prompt, tokens, heat="0"):
    for name, value in (("#prompt", prompt), ("#tokens", str(tokens)), ("#heat", heat)):
        page.fill(name, value)
    page.press("#heat", "Enter")  # as a form is sent by who types


def test_a_text(page):
    with running() as served:
        page = page(served)
        assert rules(page) == [] and fits(page)
        before = page.inner_text("#counts"), page.inner_text("#legend")
        ask(page, "Once upon a time", 40)
        page.locator("#slots li").first.wait_for()
        assert "tokens" in page.inner_text("#slots li")
        assert "1 running" in page.inner_text("#state")
        wanted = "Once upon a time" + alone("Once upon a time", 40)[0]
        expect(page.locator("#texts")).to_have_text(wanted, timeout=30_000)
        expect(page.locator("#slots li")).to_have_count(0)
        assert page.inner_text("#counts") != before[0] and page.inner_text("#legend") != before[1]
        assert page.is_visible("#no-cycles")
        assert rules(page) == [] and fits(page)


def test_what_it_is(page):
    """Every control and every part of the chip, by the Tab key alone, and by the mouse."""
    with running() as served:
        page = page(served)
        ask(page, "The", 3)
        page.locator("#legend li").first.wait_for()
        expect(page.locator("#slots li")).to_have_count(0)
        seen, count = set(), page.locator("[data-help]:visible:not(:disabled)").count()
        for _ in range(count + 3):
            page.keyboard.press("Tab")
            seen.add(page.inner_text("#help"))
        assert len(seen) >= count > 10
        page.hover("#legend li >> nth=0")
        assert "sequence that runs" in page.inner_text("#help")


def test_cycles(page, monkeypatch):
    """Of a chip with counters: bus, multipliers and stalls."""
    monkeypatch.setattr(scoville_sim, "VerilatedChip", FakeChip)
    session = session_of(4)
    with running(chip=lambda: open_requests(session, "rtl", rows=True), session=session) as served:
        page = page(served)
        ask(page, "The", 30)
        expect(page.locator("#cycles li")).to_have_count(2)
        assert page.locator("#cycles output").all_inner_texts() == ["75.0 %", "50.0 %"]
        assert page.locator("#stalls li").count() > 20 and page.is_hidden("#no-cycles") and page.is_visible("#no-pages")
        page.focus("#cycles li >> nth=1")
        assert "multipliers did useful work" in page.inner_text("#help")
        assert rules(page) == [] and fits(page)


def test_an_error(page):
    with running(most=2) as served:
        page = page(served, expected="status of 429")  # Chromium's own line
        page.fill("#count", "3")
        ask(page, "The", 5)
        page.locator("#texts .error").wait_for()
        assert "too many requests" in page.inner_text("#texts .error")
