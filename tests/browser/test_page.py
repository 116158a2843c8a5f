"""The report in a real browser: Debian's Chromium, driven by Selenium. `.ci/run` installs both."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpaudit.data.bundled import digits
from dpaudit.gate.history import releases
from dpaudit.reports.history import write_history
from dpaudit.reports.html import page
from dpaudit.reports.records import show_records
from tests.reports import results, sections
from tests.small_audits import gaussian_audit

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MISSING = [name for name in ("selenium", "axe_selenium_python") if find_spec(name) is None] + [
    name for name, found in (("chromium", CHROMIUM), ("chromedriver", DRIVER)) if found is None
]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: apt install chromium chromium-driver; "
                       "pip install selenium axe-selenium-python"),
]  # fmt: skip
WIDTHS = {"phone": 390, "laptop": 1366, "wide": 2200}
PAGES = ("small", "three", "large", "hostile", "ladder", "federated", "gradient", "texts", "extracted", "everything",
         "records", "history")  # fmt: skip
AXE = tuple(name for name in PAGES if name != "large")  # it has the elements of three, and axe needs minutes for it
OVERLAPS = """
const overlaps = [];
for (const svg of document.querySelectorAll("main svg")) {
  const words = [...svg.querySelectorAll("text")].filter((t) => t.textContent.trim());
  const boxes = words.map((t) => [t.textContent, t.getBoundingClientRect()]);
  for (let i = 0; i < boxes.length; i++) for (let j = 0; j < i; j++) {
    const [a, b] = [boxes[i][1], boxes[j][1]];
    const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (x > 1.5 && y > 0.45 * Math.min(a.height, b.height)) overlaps.push([boxes[i][0], boxes[j][0]]);
  }
}
return overlaps;
"""
OUTSIDE = """
const outside = [];
for (const svg of document.querySelectorAll("main svg")) {
  const frame = svg.getBoundingClientRect();
  for (const text of svg.querySelectorAll("text")) {
    const box = text.getBoundingClientRect();
    const [x, y] = [Math.max(frame.left - box.left, box.right - frame.right),
                    Math.max(frame.top - box.top, box.bottom - frame.bottom)];
    if (Math.max(x, y) > 1) outside.push(text.textContent);
  }
}
return outside;
"""
CUT_OFF = """
const wide = [];
for (const element of document.querySelectorAll("main *, header *, nav *")) {
  if (element.closest(".scroll, pre, svg, .records") || !element.getClientRects().length) continue;
  const right = element.getBoundingClientRect().right;
  if (right > document.documentElement.clientWidth + 1) wide.push(element.outerHTML.slice(0, 200));
}
return wide;
"""
Show = Callable[..., Any]


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    """A headless Chromium."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every page, drawn once."""
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for name in PAGES:
        found[name] = folder / f"{name}.html"
        found[name].write_text(written(name, folder), encoding="utf-8")
    return found


def written(name: str, folder: Path) -> str:
    """A page by name: most are called after the result they show."""
    if name == "history":
        for number, mu in enumerate((0.4, 0.6, 1.5)):
            (folder / str(number)).mkdir()
            release = gaussian_audit(mu, seed=number, records=400, name=f"release-{number}")
            (folder / str(number) / "result.json").write_text(release.json())
        write_history(releases(folder), folder)
        return (folder / "history.html").read_text(encoding="utf-8")
    if name == "records":
        pictures = show_records(digits().take(np.arange(300)), [3, 17, 256])
        return page(results.three(), records=pictures)
    made = getattr(results, name, None) or getattr(sections, name)
    return page(made(), made() if name in ("three", "everything") else None)  # only like results are compared


@pytest.fixture
def show(driver: Any, files: dict[str, Path]) -> Show:
    """Open a page at a width, in the light or in the dark."""

    def opened(name: str, *, width: int = 1366, dark: bool = False) -> Any:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        driver.get_log("performance")
        driver.get(files[name].as_uri())
        return driver

    return opened


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_loaded_and_nothing_complains(show: Show, name: str) -> None:
    """The page makes no request but for itself, and the console stays empty."""
    driver = show(name)
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:///", "data:"))] == []
    assert len(asked) >= 1
    assert driver.get_log("browser") == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", AXE)
def test_axe_finds_nothing(show: Show, name: str, dark: bool) -> None:
    """Contrast, names, roles, headings, tables and keyboard reach, as axe-core sees them."""
    driver = show(name, dark=dark)
    driver.execute_script("for (const part of document.querySelectorAll('details')) part.open = true")
    axe = resources.files("axe_selenium_python").joinpath("node_modules/axe-core/axe.min.js")
    driver.execute_script(axe.read_text(encoding="utf-8"))
    driver.set_script_timeout(60)
    found = driver.execute_async_script("axe.run({resultTypes: ['violations']}).then(arguments[0])")
    assert [(each["id"], each["nodes"][0]["html"][:200], len(each["nodes"])) for each in found["violations"]] == []


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS.keys())
@pytest.mark.parametrize("name", PAGES)
def test_nothing_overlaps_and_nothing_is_cut_off(show: Show, name: str, width: int) -> None:
    """No two words of a figure lie on each other, and the page is never wider than the screen."""
    driver = show(name, width=width)
    assert driver.execute_script(OVERLAPS) == []
    assert driver.execute_script(OUTSIDE) == []
    assert driver.execute_script(CUT_OFF) == []
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width


def test_hostile_names_are_text(show: Show) -> None:
    """No script of a name runs, no image of one is asked for, and every name can be read as it was written."""
    driver = show("hostile")
    assert driver.execute_script("return document.querySelectorAll('main img, main script, header img').length") == 0
    shown = driver.execute_script("return document.body.textContent")
    for name in (
        "<script>alert(1)</script>",
        "\"'`--><img src=x onerror=alert(2)>",
        "🙈 model 🧑‍🔬",
        "{{ 7 * 7 }}{% raw %}",
    ):
        assert name in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(show: Show, name: str) -> None:
    """Every link stays on the page and has its target."""
    broken = "(a) => !a.hash || !document.getElementById(a.hash.slice(1))"
    assert show(name).execute_script(f"return [...document.links].filter({broken}).map((a) => a.href)") == []


@pytest.mark.parametrize("name", PAGES)
def test_every_column_of_every_table_sorts(show: Show, name: str) -> None:
    """A click on any heading keeps all rows and reports itself, whatever stands in the cells."""
    kept = """
    const lost = [];
    for (const table of document.querySelectorAll("table")) {
      const before = [...table.tBodies[0].rows].map((row) => row.textContent).sort().join("|");
      for (const head of table.tHead.rows[0].cells) {
        head.querySelector("button").click();
        const after = [...table.tBodies[0].rows].map((row) => row.textContent).sort().join("|");
        if (after !== before || head.getAttribute("aria-sort") !== "ascending") lost.push(head.textContent);
      }
    }
    return lost;
    """
    driver = show(name)
    assert driver.execute_script(kept) == []
    assert driver.get_log("browser") == []


def test_tables_sort_by_keyboard(show: Show) -> None:
    """Enter on a heading sorts by it, again turns it round, and a screen reader is told."""
    from selenium.webdriver.common.keys import Keys

    driver = show("three")
    head = driver.find_element("css selector", "#attacks thead th:nth-child(3)")
    button = head.find_element("css selector", "button")

    def column() -> list[float]:
        cells = driver.find_elements("css selector", "#attacks tbody td:nth-child(3)")
        return [float(cell.text.split()[0]) for cell in cells]

    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(column())
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "descending"
    assert column() == sorted(column(), reverse=True)


def test_first_tab_skips_to_the_content(show: Show) -> None:
    """A keyboard need not go through the navigation."""
    from selenium.webdriver.common.keys import Keys

    driver = show("three")
    driver.find_element("css selector", "body").send_keys(Keys.TAB)
    assert driver.switch_to.active_element.text == "To the content"


@pytest.mark.parametrize("name", PAGES)
def test_printed_page_is_as_wide_as_the_paper(show: Show, name: str) -> None:
    """On A4 nothing runs over the right edge, whatever is folded out."""
    driver = show(name, width=718)  # 190 mm at 96 dots per inch
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    driver.execute_script("for (const part of document.querySelectorAll('details')) part.open = true")
    assert driver.execute_script("return matchMedia('print').matches")
    over = driver.execute_script(
        "const wide = (e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1;"
        "const seen = (e) => !e.closest('svg') && e.getClientRects().length && wide(e);"
        "return [...document.querySelectorAll('main *')].filter(seen).map((e) => e.outerHTML.slice(0, 99));"
    )
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert over == []


def test_printed_page_holds_every_chapter(show: Show, tmp_path: Path) -> None:
    """Printing opens what is folded away and cuts nothing off; the demo fits on a dozen sheets."""
    driver = show("three")
    pdf = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF")
    assert 3 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") <= 14
    assert driver.execute_script("return document.querySelectorAll('details:not([open])').length") == 0


def test_size_of_the_demo(files: dict[str, Path]) -> None:
    """At most two megabytes for the demo, and for forty models still less than that."""
    assert files["three"].stat().st_size < 500_000
    assert files["large"].stat().st_size < 2_000_000
