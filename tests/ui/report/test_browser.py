"""Pages in headless Chromium, opened from a file: console, sorting, themes, widths, contrast.

They need Debian's chromium and two packages from PyPI, playwright and axe-playwright-python, which
are no part of the development environment: playwright brings a whole Node.js, 165 MB on the disk.
"""

import importlib.util
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from securefl.ui.report import write_report
from tests.ui.report.folders import CLAIM, Made, claimed, made, many

pytestmark = pytest.mark.slow

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS = (360, 1440)
THEMES = ("light", "dark")
NAMES = ("study", "run", "failed", "half", "hostile")
HOSTILE = "<img src=x onerror='hit = 1'><script>hit = 1</script> $x$ \N{HOSPITAL} \u202eabc שלם"
OVERFLOWING = """() => [...document.querySelectorAll("body *")]
  .filter((element) => !element.closest(".wide, .drawing, pre"))
  .filter((element) => element.getBoundingClientRect().right > window.innerWidth + 1)
  .map((element) => element.outerHTML.slice(0, 80))"""
COLUMN = """(place) => [...document.querySelectorAll(`#table-rows tbody tr td:nth-child(${place})`)]
  .filter((cell) => !cell.parentElement.hidden).map((cell) => cell.textContent.trim())"""
SIZES = """() => document.querySelectorAll("#table-rows tbody tr").forEach((row, place) => {
  row.cells[9].textContent = ["9.0 MB", "10.0 kB", "2.0 kB", "1.5 MB"][place % 4];
})"""
CLICK = """() => {
  document.querySelector("#table-rows th:nth-child(4) button").click();
  document.body.getBoundingClientRect();
}"""
AXE = """() => axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
  .then((found) => found.violations.map(({id, nodes}) => [id, nodes.map(({html}) => html)]))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: apt install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as drivers:
        launched = drivers.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Name -> address of a page."""
    place = tmp_path_factory.mktemp("pages")
    failed = {"state": "failed", "run": "r", "round": 2, "reason": "no client was left"}
    running = {"state": "running", "run": "r", "round": 1}
    folders = [
        many(place / "study", rows=12, seeds=3),
        made(place / "run", [Made("run", 0, CLAIM, metrics=claimed())]),
        made(place / "failed", [Made("run", 0, status=failed, metrics=None)]),
        made(
            place / "half",
            [
                Made("a", 0, metrics={"abandoned": 1}),
                Made("a", 1, status=running, metrics=None),
                Made("b", 0, status=failed, metrics=None),
                Made("b", 1, status=None),
            ],
            study="half",
            text="title = 'Half a study'\n",
        ),
        made(
            place / "hostile",
            [Made(HOSTILE, 0), Made("x" * 300, 0), Made("b", 0)],
            text=f"# {HOSTILE}\n# {'y' * 300}\n",
        ),
    ]
    return {folder.name: write_report(folder).as_uri() for folder in folders}


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab whose console, errors and requests are kept."""
    context = browser.new_context()
    page = context.new_page()
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    context.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_opens_from_a_file_and_asks_for_nothing_else(
    tab: Any, pages: dict[str, str], name: str
) -> None:
    tab.goto(pages[name])
    assert tab.said == []
    assert [url for url in tab.asked if not url.startswith("data:")] == [pages[name]]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wider_than_the_window(
    tab: Any, pages: dict[str, str], name: str, width: int
) -> None:
    tab.set_viewport_size({"width": width, "height": 800})
    tab.goto(pages[name])
    for part in tab.query_selector_all("details"):
        part.evaluate("(part) => { part.open = true; }")
    assert tab.evaluate(OVERFLOWING) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_a_click_on_a_head_sorts_by_numbers_and_another_one_turns_it(
    tab: Any, pages: dict[str, str]
) -> None:
    tab.goto(pages["study"])
    head = tab.locator("#table-rows th", has_text="row")
    assert head.get_attribute("aria-sort") is None
    labels = tab.evaluate(COLUMN, 1)
    epsilons = tab.locator("#table-rows th", has_text="epsilon")
    epsilons.get_by_role("button").click()
    assert epsilons.get_attribute("aria-sort") == "ascending"
    column = tab.evaluate(COLUMN, 8)
    assert column[:6] == sorted(column[:6], key=float)
    assert column[6:] == ["none"] * 6
    epsilons.get_by_role("button").press("Enter")
    assert epsilons.get_attribute("aria-sort") == "descending"
    column = tab.evaluate(COLUMN, 8)
    assert column[:6] == sorted(column[:6], key=float, reverse=True)
    assert column[6:] == ["none"] * 6
    head.get_by_role("button").click()
    assert epsilons.get_attribute("aria-sort") is None
    assert tab.evaluate(COLUMN, 1) == sorted(labels)


def test_sizes_are_sorted_by_their_units(tab: Any, pages: dict[str, str]) -> None:
    tab.goto(pages["study"])
    tab.evaluate(SIZES)
    tab.locator("#table-rows th", has_text="bytes").get_by_role("button").click()
    column = tab.evaluate(COLUMN, 10)
    assert column == ["2.0 kB"] * 3 + ["10.0 kB"] * 3 + ["1.5 MB"] * 3 + ["9.0 MB"] * 3


def test_a_filter_leaves_the_rows_with_all_its_words(tab: Any, pages: dict[str, str]) -> None:
    tab.goto(pages["study"])
    box = tab.get_by_label("Filter rows").first
    box.fill("Epsilon 0.02")
    assert tab.evaluate(COLUMN, 1) == ["learning rate 0.02, epsilon 3"]
    assert tab.locator(".filter output").first.text_content() == "1 of 12 rows"
    box.fill("")
    assert len(tab.evaluate(COLUMN, 1)) == 12


def test_the_theme_follows_the_system_until_somebody_switches(
    tab: Any, pages: dict[str, str]
) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    tab.emulate_media(color_scheme="dark")
    tab.goto(pages["run"])
    dark = tab.evaluate(background)
    button = tab.get_by_role("button", name="Light theme")
    button.click()
    light = tab.evaluate(background)
    assert light != dark
    tab.reload()
    assert tab.evaluate(background) == light
    tab.get_by_role("button", name="Dark theme").click()
    assert tab.evaluate(background) == dark
    tab.emulate_media(color_scheme="light")
    assert tab.evaluate(background) == dark


def test_a_page_works_where_storage_is_refused(tab: Any, pages: dict[str, str]) -> None:
    tab.add_init_script("""Object.defineProperty(window, "localStorage", {
      get() { throw new DOMException("refused", "SecurityError"); } });""")
    tab.goto(pages["run"])
    tab.get_by_role("button", name="Dark theme").click()
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    assert tab.said == []


def test_a_page_can_be_read_without_its_script(browser: Any, pages: dict[str, str]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["study"])
    assert page.locator("#table-rows tbody tr").first.is_visible()
    assert not page.locator("#theme").is_visible()
    assert page.locator("th button").count() == 0
    context.close()


def test_hostile_names_stay_text(tab: Any, pages: dict[str, str]) -> None:
    dialogs: list[str] = []
    tab.on("dialog", lambda dialog: dialogs.append(dialog.message))
    tab.goto(pages["hostile"])
    assert tab.evaluate("typeof hit") == "undefined"
    assert tab.locator("img").count() == 0
    assert tab.evaluate(COLUMN, 1)[0] == HOSTILE
    assert dialogs == []


def test_a_table_is_saved_as_csv(tab: Any, pages: dict[str, str], tmp_path: Path) -> None:
    tab.goto(pages["study"])
    with tab.expect_download() as waiting:
        tab.get_by_role("link", name="Rows as CSV, with all digits").click()
    assert waiting.value.suggested_filename == "rows.csv"
    waiting.value.save_as(tmp_path / "rows.csv")
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 13


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", NAMES)
def test_a_page_meets_the_guidelines_for_accessibility(
    tab: Any, pages: dict[str, str], name: str, theme: str
) -> None:
    if importlib.util.find_spec("axe_playwright_python") is None:
        pytest.skip("no axe-core: pip install axe-playwright-python")
    script = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
    tab.emulate_media(color_scheme=theme)
    tab.goto(pages[name])
    for part in tab.query_selector_all("details"):
        part.evaluate("(part) => { part.open = true; }")
    tab.evaluate(script)
    assert tab.evaluate(AXE) == []


def test_500_rows_are_interactive_within_a_second(tab: Any, tmp_path: Path) -> None:
    address = write_report(many(tmp_path / "large", rows=500, seeds=1)).as_uri()
    session = tab.context.new_cdp_session(tab)
    # CPU time of the page's thread: the wall says how busy a machine is.
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.goto(address)
    loaded = _seconds(session)
    assert loaded < 1
    tab.evaluate(CLICK)
    assert tab.locator("#table-rows th:nth-child(4)").get_attribute("aria-sort") == "ascending"
    assert _seconds(session) - loaded < 1


def _seconds(session: Any) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float({metric["name"]: metric["value"] for metric in metrics}["TaskDuration"])
