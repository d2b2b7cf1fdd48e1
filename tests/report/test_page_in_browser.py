"""The page as a person has it: in a browser, by mouse, keyboard and eye."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_explanations import write_explained
from made_folders import write_comparison
from page_figures import add_new_figures

from edgefed.report import write_report
from edgefed.report.page import write_explanation

pytestmark = pytest.mark.browser
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
Select = pytest.importorskip("selenium.webdriver.support.select").Select

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no chromium and chromedriver on this machine: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def address(comparison: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = shutil.copytree(comparison, tmp_path_factory.mktemp("browsed") / "compared")
    add_new_figures(folder)
    return write_report(folder).as_uri()


@pytest.fixture(params=[1440, 360])
def page(request: pytest.FixtureRequest, browser: webdriver.Chrome, address: str) -> webdriver.Chrome:
    show(browser, address, width=request.param)
    return browser


def show(browser: webdriver.Chrome, address: str, *, width: int = 1440, theme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [
        {"name": "prefers-color-scheme", "value": theme},
        {"name": "prefers-reduced-motion", "value": "reduce"},  # else a click lands where the page was
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
    browser.get(address)
    browser.execute_script("try { localStorage.clear(); } catch {} delete document.documentElement.dataset.theme;")


def column(browser: webdriver.Chrome, table: str, place: int) -> list[str]:
    """The shown rows' text in a column."""
    return browser.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]}-table tbody tr`)].filter(row => !row.hidden)"
        ".map(row => row.cells[arguments[1]].querySelector('.t').textContent)",
        table,
        place,
    )


def sorts(browser: webdriver.Chrome, table: str) -> list[str | None]:
    return browser.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]}-table thead th`)]"
        ".map(head => head.getAttribute('aria-sort'))",
        table,
    )


def element(browser: webdriver.Chrome, css: str):
    return browser.find_element("css selector", css)


def press(browser: webdriver.Chrome, *keys: str) -> None:
    webdriver.ActionChains(browser).send_keys(*keys).perform()


def test_nothing_overflows_nothing_is_empty_and_the_console_is_silent(page: webdriver.Chrome) -> None:
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    sizes = page.execute_script(
        "return [...document.querySelectorAll('svg, img')].filter(one => one.checkVisibility())"
        ".map(one => one.getBoundingClientRect()).map(box => [box.width, box.height])"
    )
    assert len(sizes) > 8
    assert all(width > 5 and height > 5 for width, height in sizes)
    assert page.get_log("browser") == []


def test_one_of_the_two_drawings_is_shown(page: webdriver.Chrome) -> None:
    width = page.execute_script("return innerWidth")
    shown = page.execute_script(
        "return ['wide', 'narrow'].map(look => [...document.querySelectorAll(`svg.${look}`)]"
        ".filter(one => one.checkVisibility()).length > 0)"
    )
    assert shown == [width > 1000, width < 1000]


def test_text_in_pictures_lies_inside_them(page: webdriver.Chrome) -> None:
    cut = page.execute_script(
        "const out = []; for (const svg of document.querySelectorAll('svg.chart')) {"
        "  if (!svg.checkVisibility()) continue; const box = svg.getBoundingClientRect();"
        "  for (const text of svg.querySelectorAll('text')) { const b = text.getBoundingClientRect();"
        "    if (b.width && (b.left < box.left - 1 || b.right > box.right + 1)) out.push(text.textContent); } }"
        "return out"
    )
    assert cut == []


def test_what_was_found_is_seen_beside_each_remedy_without_scrolling(browser: webdriver.Chrome, address: str) -> None:
    show(browser, address, width=1280)
    table, cells = browser.execute_script(
        "const box = one => { const b = one.getBoundingClientRect(); return [b.left, b.right]; };"
        "return [box(document.querySelector('#differences-table .scroll')),"
        " [...document.querySelectorAll('#differences-table td.tier .t')].map(box)]"
    )
    assert len(cells) == 4
    assert all(table[0] <= left < right <= table[1] for left, right in cells)
    wide = "const one = document.querySelector('#differences-table .scroll'); return one.scrollWidth <= one.clientWidth"
    assert browser.execute_script(wide)


def test_a_click_sorts_a_table_and_says_so(page: webdriver.Chrome) -> None:
    before = column(page, "differences", 2)
    head = element(page, "#differences-table thead th:nth-child(3) .sort")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", head)
    head.click()
    assert sorts(page, "differences")[2] == "descending"
    assert [float(cell) for cell in column(page, "differences", 2)] == sorted(map(float, before), reverse=True)
    head.click()
    assert sorts(page, "differences") == [None, None, "ascending", *[None] * (len(sorts(page, "differences")) - 3)]
    assert [float(cell) for cell in column(page, "differences", 2)] == sorted(map(float, before))
    assert column(page, "differences", 2) != before


def test_the_keyboard_reaches_a_head_and_sorts_names_by_the_alphabet(page: webdriver.Chrome) -> None:
    names = column(page, "differences", 0)
    page.execute_script("document.querySelector('#tiers').scrollIntoView()")
    page.execute_script("document.querySelector('#differences-table .scroll').focus()")
    press(page, webdriver.Keys.TAB)
    assert page.switch_to.active_element.text.strip() == "Remedy"
    outline = page.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    press(page, webdriver.Keys.ENTER)
    assert column(page, "differences", 0) == sorted(names)
    assert sorts(page, "differences")[0] == "ascending"
    press(page, webdriver.Keys.SPACE)
    assert column(page, "differences", 0) == sorted(names, reverse=True)


def test_what_is_not_there_sorts_last_either_way(page: webdriver.Chrome) -> None:
    for direction in ("descending", "ascending"):
        page.execute_script("document.querySelector('#differences-table thead th:nth-child(4) .sort').click()")
        assert sorts(page, "differences")[3] == direction
        assert column(page, "differences", 3)[-1] == "–"


def test_the_skip_link_comes_first(page: webdriver.Chrome) -> None:
    press(page, webdriver.Keys.TAB)
    assert page.switch_to.active_element.text == "Skip to the answer"
    press(page, webdriver.Keys.ENTER)
    assert page.execute_script("return document.activeElement.id") == "main"


def test_text_and_family_filter_rows(page: webdriver.Chrome) -> None:
    box = element(page, "#differences-table [data-filter]")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    box.send_keys("OVERSAMPLING")
    assert column(page, "differences", 0) == ["random-oversampling"]
    assert element(page, "#differences-table output").text == "1 of 4 rows"
    box.clear()
    Select(element(page, "#differences-table [data-family]")).select_by_visible_text("control")
    assert sorted(column(page, "differences", 0)) == ["none", "post-hoc"]


def test_a_box_shows_and_hides_a_curve(page: webdriver.Chrome) -> None:
    drawn = "return getComputedStyle(document.querySelector('#curve-test-title ~ g .arm-0')).display"
    box = element(page, "#curves-arm-0")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    assert box.is_selected()
    assert page.execute_script(drawn) != "none"
    box.click()
    assert page.execute_script(drawn) == "none"


def test_labels_of_the_curves_that_are_shown_keep_apart(page: webdriver.Chrome) -> None:
    page.execute_script("document.querySelectorAll('.curves input:not(:checked)').forEach(box => box.click())")
    heights = page.execute_script(
        "return [...document.querySelectorAll('#curve-test-title ~ g > .label')].map(label => +label.getAttribute('y'))"
    )
    assert len(heights) == 4
    assert all(after - before > 12.9 for before, after in itertools.pairwise(sorted(heights)))
    assert page.get_log("browser") == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_follows_the_system_until_the_button_says_otherwise(
    browser: webdriver.Chrome, address: str, theme: str
) -> None:
    show(browser, address, theme=theme)
    lightness = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    assert (browser.execute_script(lightness) < 128) == (theme == "dark")
    element(browser, "#theme").click()
    assert (browser.execute_script(lightness) < 128) == (theme == "light")
    assert element(browser, "#theme").get_attribute("aria-pressed") == str(theme == "light").lower()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(browser: webdriver.Chrome, address: str, theme: str) -> None:
    """WCAG 2: contrast (L1 + 0.05) / (L2 + 0.05) of at least 4.5 for each colour that text or a mark has."""
    show(browser, address, theme=theme)
    names = ["ink", "soft", "link", "better", "worse", "same", *(f"hue-{place}" for place in range(6))]
    colours = browser.execute_script(
        "const s = getComputedStyle(document.documentElement);"
        "return ['paper', 'raised', ...arguments[0]].map(name => s.getPropertyValue('--' + name).trim())",
        names,
    )

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    behind, shown = [luminance(colour) for colour in colours[:2]], colours[2:]
    for name, colour in zip(names, shown, strict=True):
        for back in behind[: 1 if name.startswith(("hue", "same")) else 2]:
            bright, dim = sorted((luminance(colour), back), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, name


def test_paper_gets_everything_unfolded_in_ink_on_white(browser: webdriver.Chrome, address: str) -> None:
    show(browser, address, theme="dark")
    closed = "return document.querySelectorAll('main details:not([open])').length"
    assert browser.execute_script(closed) > 0
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(closed) == 0
    assert browser.execute_script("return document.querySelectorAll('.sort').length") == 0
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not element(browser, "#theme").is_displayed()
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(closed) > 0
    assert browser.execute_script("return document.querySelectorAll('.sort').length") > 10


def test_names_from_a_persons_file_run_nothing(browser: webdriver.Chrome, tmp_path: Path) -> None:
    name = "\"'><img src=x onerror='window.ran=1'><script>window.ran=1</script>"
    write_comparison(tmp_path / "compared", {"none": 0.0, "post-hoc": 0.2}, seeds=6, classes=(name, "b", "c" * 80))
    add_new_figures(tmp_path / "compared")
    show(browser, write_report(tmp_path / "compared").as_uri(), width=360)
    assert browser.execute_script("return window.ran") is None
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert element(browser, "#recall-by-class-table thead th:nth-child(2) .head").text.startswith(name)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.get_log("browser") == []


def test_it_can_be_read_without_javascript(browser: webdriver.Chrome, address: str) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show_without = {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", show_without)
        browser.get(address)
        assert element(browser, "#differences-table tbody th").is_displayed()
        assert not element(browser, "#theme").is_displayed()
        assert browser.find_elements("css selector", ".sort") == []
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("explained") / "run"
    write_explained(folder, clients=30)
    return write_explanation(folder).as_uri()


@pytest.mark.parametrize("width", [1440, 360])
def test_an_explanations_page_fits_its_window_and_its_pictures_their_text(
    browser: webdriver.Chrome, explained: str, width: int
) -> None:
    show(browser, explained, width=width)
    test_nothing_overflows_nothing_is_empty_and_the_console_is_silent(browser)
    test_text_in_pictures_lies_inside_them(browser)
    test_one_of_the_two_drawings_is_shown(browser)


def test_an_explanations_tables_sort_and_filter(browser: webdriver.Chrome, explained: str) -> None:
    show(browser, explained)
    before = column(browser, "features", 1)
    browser.execute_script("document.querySelector('#features-table thead th:nth-child(2) .sort').click()")
    browser.execute_script("document.querySelector('#features-table thead th:nth-child(2) .sort').click()")
    assert column(browser, "features", 1) == before[::-1]
    edges = browser.execute_script(
        "return ['.scroll', 'tfoot'].map(part => document.querySelector(`#clients-table ${part}`)"
        ".getBoundingClientRect()).flatMap(at => [at.top, at.bottom])"
    )
    assert edges[0] < edges[2] < edges[3] <= edges[1] + 1  # the foot of a long table stays in sight
    box = element(browser, "#clients-table [data-filter]")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    box.send_keys("client 29")
    assert column(browser, "clients", 0) == ["client 29"]


def test_an_explanation_runs_nothing_of_a_persons_names(browser: webdriver.Chrome, tmp_path: Path) -> None:
    name = "\"'><img src=x onerror='window.ran=1'><script>window.ran=1</script>"
    write_explained(tmp_path / "run", features=(name, "b" * 90, "c"), classes=(name, "y"))
    show(browser, write_explanation(tmp_path / "run").as_uri(), width=360)
    assert browser.execute_script("return window.ran") is None
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.get_log("browser") == []
