"""Every page in headless Chromium, on the real demo with a drift that the loop has mended behind it.

SCREENSHOTS=folder keeps a picture of each page.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from embedded.ports import free_port
from tests.architecture.law import ROOT
from tests.needs import program

pytestmark = pytest.mark.browser

TOLD_S = 300.0  # until the demo's story is over, on a busy machine
PATIENCE_MS = 60_000
DESK, PHONE = (1280, 900), (390, 844)
PAGES = {"Now": "", "Model": "model", "Jobs": "jobs", "Try it": "try", "Data": "data", "Settings": "settings"}
GRAVE = {"serious", "critical"}


@dataclass(frozen=True)
class Demo:
    """A running demo: where its dashboard is, and the password."""

    url: str
    password: str


@dataclass
class Heard:
    """What a browser asked other machines for, and what it complained of."""

    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        context.on("request", lambda request: self.hosts.add(re.sub(r"^\w+:(//)?", "", request.url).partition("/")[0]))
        context.on("console", self._console)
        context.on("weberror", lambda fault: self.complaints.append(str(fault.error)))

    def _console(self, message: ConsoleMessage) -> None:
        # Streamlit looks for its server below a page's own address first, and finds it above
        where = message.location.get("url", "")
        if message.type == "error" and "/_stcore/" not in where:
            self.complaints.append(f"{where}: {message.text}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A Chromium of the machine's own; the test is skipped without one, and under CI=true it fails."""
    found = program("chromium", "chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def demo(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`make demo`, once its story has been told; it stays up. Not begun where there is no browser to look at it."""
    folder = tmp_path_factory.mktemp("demo")
    port = free_port()
    ports = {name: str(free_port()) for name in ("API_PORT", "FLOWER_PORT", "MLFLOW_PORT")}
    kept = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "DATABASE_URL", "API_KEY"}}
    env = {**kept, **ports, "DASHBOARD_PORT": str(port), "DATA_DIR": str(folder / "data")}
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "embedded", "demo"], cwd=ROOT, env=env, stdout=file, stderr=file)
    try:
        end = time.monotonic() + TOLD_S
        while not all(sign in output.read_text() for sign in ("It stays up", "✓ dashboard")):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.5)
        assert "The loop closed" in output.read_text(), output.read_text()
        yield Demo(f"http://127.0.0.1:{port}", (folder / "data" / "dashboard_password").read_text().strip())
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.fixture
def heard() -> Heard:
    return Heard()


def open_page(chromium: Browser, demo: Demo, heard: Heard, size: tuple[int, int] = DESK, scheme: str = "light") -> Page:
    """The dashboard after a login, in a browser without a past."""
    width, height = size
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
    )
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    heard.watch(context)
    page = context.new_page()
    page.goto(demo.url)
    page.get_by_label("Password").fill(demo.password)
    page.get_by_role("button", name="Log in").click()
    settle(page, "Now")
    return page


def settle(page: Page, title: str) -> None:
    """Wait until a page stands still: its title and its end are there, and its charts are drawn."""
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Log out")).to_be_visible()
    page.wait_for_load_state("networkidle")
    charts = "[...document.querySelectorAll('[data-testid=stVegaLiteChart]')].filter(each => each.offsetParent)"
    drawn = f"{charts}.every(each => each.querySelector('canvas, svg'))"
    page.wait_for_function(drawn)
    page.wait_for_timeout(500)


def visit(page: Page, demo: Demo, title: str) -> None:
    page.goto(f"{demo.url}/{PAGES[title]}")
    settle(page, title)


def keep_picture(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_nobody_gets_in_with_a_wrong_password(chromium: Browser, demo: Demo, heard: Heard) -> None:
    """The door says so, and shows nothing of the dashboard; the right one opens it, and a logout closes it again."""
    context = chromium.new_context()
    heard.watch(context)
    page = context.new_page()
    page.goto(demo.url)
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("heading", name="Now", exact=True)).to_have_count(0)
    page = open_page(chromium, demo, heard)
    page.get_by_role("link", name="Log out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    assert heard.hosts == {demo.url.removeprefix("http://")}


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk, light", "phone, dark"])
def test_every_page_is_whole_accessible_and_asks_no_other_host(
    chromium: Browser, demo: Demo, heard: Heard, size: tuple[int, int], scheme: str
) -> None:
    """No sideways scrolling, no serious fault that axe-core knows of, no error in the console, no request elsewhere."""
    page = open_page(chromium, demo, heard, size, scheme)
    faults = []
    for title in PAGES:
        visit(page, demo, title)
        keep_picture(page, f"{title.lower().replace(' ', '-')}-{size[0]}-{scheme}")
        beyond = page.evaluate("document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth")
        faults += [f"{title}: {beyond} px wider than the window"] if beyond > 0 else []
        found = Axe().run(page).response["violations"]
        faults += [f"{title}: {each['id']}: {each['nodes'][0]['html'][:200]}" for each in found if each["impact"] in GRAVE]
    assert faults == []
    assert heard.complaints == []
    assert heard.hosts <= {demo.url.removeprefix("http://"), "", "data:"}


def test_now_says_how_things_are_in_one_look(chromium: Browser, demo: Demo, heard: Heard) -> None:
    """The version that serves, and what people were told of the drift."""
    main = open_page(chromium, demo, heard).get_by_test_id("stMain")
    expect(main).to_contain_text(re.compile(r"v\d+ serves"))
    expect(main).to_contain_text("What you were told")
    expect(main).to_contain_text("Drift in default")


def test_a_row_is_predicted_from_the_form(chromium: Browser, demo: Demo, heard: Heard) -> None:
    """The form is made of the model's features; the answer stands below it with its version."""
    page = open_page(chromium, demo, heard)
    visit(page, demo, "Try it")
    page.get_by_label("x1").fill("1.5")
    page.get_by_label("x2").fill("-0.5")
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_test_id("stMain")).to_contain_text("from accepted to answered")
    keep_picture(page, "tried")


def test_jobs_can_be_filtered_and_opened(chromium: Browser, demo: Demo, heard: Heard) -> None:
    """The trainings of the story are there, and ended well; one of them, opened, shows its result."""
    page = open_page(chromium, demo, heard)
    visit(page, demo, "Jobs")
    main = page.get_by_test_id("stMain")
    page.get_by_label("Kind").click()
    page.get_by_role("option", name="train", exact=True).click()
    expect(main.get_by_text("check", exact=True)).to_have_count(0)
    expect(main).to_contain_text("succeeded")
    main.get_by_test_id("stButton").filter(has_text="Open").get_by_role("button").first.click()
    expect(main).to_contain_text("Result")
    keep_picture(page, "job")


def test_an_admin_rolls_back(chromium: Browser, demo: Demo, heard: Heard) -> None:
    """Asked once more before it is done; then another version serves."""
    page = open_page(chromium, demo, heard)
    visit(page, demo, "Model")
    main = page.get_by_test_id("stMain")
    served = main.get_by_text(re.compile(r"^v\d+$")).first.inner_text()
    page.get_by_role("button", name="Roll back…").click()
    expect(page.get_by_test_id("stDialog")).to_be_visible()
    keep_picture(page, "rollback")
    page.get_by_test_id("stDialog").get_by_role("button", name="Roll back", exact=True).click()
    expect(page.get_by_test_id("stDialog")).to_have_count(0)
    visit(page, demo, "Model")
    expect(main).not_to_contain_text(f"{served} serves")
