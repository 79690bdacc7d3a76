"""The page in a real browser: the slider moves, the table sorts, both themes, a phone, and not one console error."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.compare import main
from jobs.comparing.build import build_report
from jobs.comparing.page import render
from jobs.comparing.report import Report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
DARK = [{"name": "prefers-color-scheme", "value": "dark"}]


@pytest.fixture(scope="module")
def page(model: str, photo: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of three pictures at three qualities beside published curves."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "in").mkdir()
    for index, name in enumerate(("b.png", "a.png", "<c>&'.png")):
        Image.fromarray(photo(48, 64, index)).save(folder / "in" / name)
    flags = ["--qualities", "2,5,8", "--iters", "2", "--codecs", "jpeg,webp", "--anchors", "kodak", "--pictures", "2"]
    assert main(["--model", model, *flags, "-o", str(folder / "out"), str(folder / "in")]) == 0
    return folder / "out/report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, which keeps what is written to its console."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="the extra `test` brings selenium")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver on this machine (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    still = ("--headless=new", "--window-size=1200,900", "--force-prefers-reduced-motion")  # scrolls at once
    for flag in (*still, "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Any, page: Path) -> Iterator[Any]:
    """The page, which must have said nothing on the console when a test is over."""
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []


def report_of(records: list[Any], notes: list[str] | None = None) -> Report:
    return build_report(records, classical=[], splits=[], anchors=None, notes=notes or [], settings={})


def column(browser: Any, index: int) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('#picture-table tbody tr')].map((r) => r.cells[arguments[0]].innerText)",
        index,
    )


def test_the_page_holds_all_it_needs(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?!data:|#)', text) and not re.search(r"@[A-Z]+@", text)
    assert "default-src 'none'" in text
    assert json.loads(text.split('id="data">')[1].split("</script>")[0], parse_constant=pytest.fail)  # of NaN


def test_every_section_is_filled(opened: Any) -> None:
    empty = opened.execute_script(
        "return [...document.querySelectorAll('main :is(table:not([hidden]), .chart, dl, .legend)')]"
        ".filter((e) => !e.closest('[hidden]') && !e.children.length).map((e) => e.id)"
    )
    assert empty == []
    assert opened.execute_script("return document.querySelectorAll('section[hidden]').length") <= 1  # the notes
    assert opened.execute_script("return document.querySelectorAll('#rd-chart path').length") >= 4


def test_the_slider_moves_the_seam(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    slider = opened.find_element("id", "slider")
    seam = "return document.querySelector('.seam').getBoundingClientRect().left"
    before = opened.execute_script(seam)
    slider.send_keys(Keys.ARROW_RIGHT * 20)
    moved = opened.execute_script(seam)
    assert moved > before + 5
    width = opened.execute_script("return document.getElementById('canvas').clientWidth")
    assert moved - before == pytest.approx(0.1 * width, abs=2)  # 20 steps of half a percent
    slider.send_keys(Keys.HOME)
    assert "0%" in opened.execute_script("return getComputedStyle(document.getElementById('left-image')).clipPath") or (
        "100%" in opened.execute_script("return getComputedStyle(document.getElementById('left-image')).clipPath")
    )


def test_layers_and_pictures_can_be_chosen(opened: Any) -> None:
    source = "return document.getElementById('left-image').src"
    first = opened.execute_script(source)
    buttons = {b.text: b for b in opened.find_elements("css selector", "#look-controls button")}
    buttons["bits"].click()
    assert opened.execute_script(source).startswith("data:image/png") and opened.execute_script(source) != first
    assert "bpp" in opened.find_element("id", "left-caption").text
    assert "SSIMULACRA 2" not in opened.find_element("id", "left-caption").text
    buttons["equal bytes"].click()
    assert "SSIMULACRA 2" in opened.find_element("id", "left-caption").text
    assert opened.execute_script(source) == first
    opened.find_elements("css selector", "#thumbs button")[1].click()
    assert opened.execute_script(source) != first


def test_the_table_sorts(opened: Any) -> None:
    heads = opened.find_elements("css selector", "#picture-table th button")
    assert column(opened, 0) == ["<c>&'.png", "a.png", "b.png"]
    heads[0].click()
    assert column(opened, 0) == ["b.png", "a.png", "<c>&'.png"]
    heads[2].click()
    values = [float(v.replace("\u2212", "-").replace(" %", "").replace("\u2013", "nan")) for v in column(opened, 2)]
    assert values == sorted(values, reverse=True)  # ascending gain: the cost falls more and more
    assert opened.find_elements("css selector", "#picture-table th")[2].get_attribute("aria-sort") == "ascending"


def test_curves_can_be_hidden_and_walked(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    lines = "return document.querySelectorAll('#rd-chart path').length"
    before = opened.execute_script(lines)
    next(b for b in opened.find_elements("css selector", "#rd-legend button") if b.text == "JPEG").click()
    assert opened.execute_script(lines) == before - 1
    chart = opened.find_element("css selector", "#rd-chart svg")
    opened.execute_script("arguments[0].focus()", chart)
    chart.send_keys(Keys.ARROW_RIGHT)
    assert "bpp" in opened.find_element("id", "tip").text and "SSIMULACRA 2 " in opened.find_element("id", "tip").text
    for label in ("MS-SSIM", "log", "all", "SSIMULACRA 2"):
        next(b for b in opened.find_elements("css selector", "#curve-controls button") if b.text == label).click()
    assert opened.find_elements("css selector", "#rd-chart .axis")[1].text.startswith("SSIMULACRA 2")
    assert len(opened.find_elements("css selector", "#rd-chart path")) >= 3


def test_tables_follow_the_metric(opened: Any) -> None:
    for section, head in (("rate", "Shared range"), ("quality", "Saved at equal"), ("picture", "Against plain")):
        table = f"#{section}-table"
        before = opened.find_element("css selector", table).text
        buttons = {b.text: b for b in opened.find_elements("css selector", f"#{section}-controls button")}
        assert set(buttons) == {"PSNR", "SSIMULACRA 2"}, "the pictures are too small for MS-SSIM"
        buttons["SSIMULACRA 2"].click()
        after = opened.find_element("css selector", table).text
        assert head in after
        assert section == "picture" or after != before  # where an untrained codec has no figures for a picture
        buttons["PSNR"].click()
        assert opened.find_element("css selector", table).text == before


def without_butteraugli(outcome: Any) -> Any:
    return replace(
        outcome,
        plain=replace(outcome.plain, butteraugli=None),
        refined=replace(outcome.refined, butteraugli=None),
    )


@pytest.mark.parametrize(("eyes", "lead"), [(True, "SSIMULACRA 2"), (False, "PSNR")])
def test_it_opens_with_what_the_files_are_for(
    browser: Any, make_record: Any, tmp_path: Path, eyes: bool, lead: str
) -> None:
    records = [make_record(name, quality) for name in "abc" for quality in (2, 5, 8)]
    if not eyes:  # then Butteraugli is not measured
        records = [replace(r, outcome=without_butteraugli(r.outcome)) for r in records]
    page, found = tmp_path / "report.html", report_of(records)
    page.write_text(render(found, []), encoding="utf-8")
    browser.get(page.as_uri())
    assert browser.find_element("id", "verdict").text == found.verdict != ""
    first = browser.find_element("css selector", "#tiles .figure + p").text
    assert first.startswith(f"bits against plain at equal {lead} (BD-rate")
    for section in ("curve", "rate", "quality", "picture"):
        pressed = browser.find_elements("css selector", f"#{section}-controls button[aria-pressed=true]")
        assert lead in [button.text for button in pressed], section
    assert browser.get_log("browser") == []


def test_two_themes_and_a_phone(opened: Any, tmp_path: Path) -> None:
    background = "return getComputedStyle(document.body).backgroundColor"
    light = opened.execute_script(background)
    wait = pytest.importorskip("selenium.webdriver.support.wait").WebDriverWait(opened, 5)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": DARK})
    wait.until(lambda browser: browser.execute_script(background) != light)
    opened.find_element("id", "theme").click()  # auto -> light, whatever the system says
    assert opened.execute_script(background) == light
    opened.execute_script("localStorage.clear()")
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    opened.refresh()
    assert opened.execute_script("return document.documentElement.scrollWidth") <= 390
    assert opened.save_screenshot(str(tmp_path / "phone.png"))
    assert len(np.unique(np.asarray(Image.open(tmp_path / "phone.png")))) > 50
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("case", ["nothing", "one quality", "one picture", "no classical"])
def test_little_to_show_is_shown_without_an_error(case: str, browser: Any, make_record: Any, tmp_path: Path) -> None:
    records = {
        "nothing": [],
        "one quality": [make_record(name, 4) for name in "abc"],
        "one picture": [make_record("a", q) for q in (2, 4, 6)],
        "no classical": [make_record(name, q) for name in "abc" for q in (2, 4, 6)],
    }[case]
    path = tmp_path / "report.html"
    path.write_text(render(report_of(records, ["a <note>"]), []), encoding="utf-8")
    browser.get(path.as_uri())
    assert "a <note>" in browser.find_element("id", "notes").text
    assert "NaN" not in browser.find_element("tag name", "body").text
    assert browser.get_log("browser") == []


def test_names_cannot_break_out_of_the_data(make_record: Any, tmp_path: Path) -> None:
    text = render(report_of([make_record("</script><b>", 4)]), [])
    assert text.count("</script>") == 2
