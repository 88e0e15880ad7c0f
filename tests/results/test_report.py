"""The page is whole, small, safe and quiet; a browser can sort and filter it."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from meid_bench.benchmark.benchmark import save_benchmark
from meid_bench.cli.main import cli
from meid_bench.codec import json_line
from meid_bench.files import benchmark_dir, runs_dir
from meid_bench.results.metrics import evaluate_scores
from meid_bench.results.record import CURVE, CurvePoint, save_record, save_scores
from meid_bench.results.report import write_report
from tests.made_records import make_benchmark, make_result, make_scores

NASTY = ("<script>document.title='owned'</script>", 'a & "b"', "🎉", "$$x^2$$", "</script>", "'q'")
# One transparent pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


def build(root: Path, name: str, published: str | None, methods, seeds=2) -> None:
    benchmark = replace(
        make_benchmark(seed=len(name)), name=name, title=f"Title of {name} <i>",
        classes=NASTY, published=published,
    )  # fmt: skip
    save_benchmark(benchmark, benchmark_dir(root, name))
    labels = benchmark.labels("test")
    for position, method in enumerate(methods):
        for seed in range(seeds):
            scores = make_scores(labels, 2.0 - position / 2, 10 * position + seed)
            folder = runs_dir(root, name) / f"{position}-s{seed}"
            save_scores(folder, benchmark.ids("test"), scores)
            points = [
                CurvePoint("train", e, 1e-3, 0.1, {"overall": e / 10, "tail": None}, {})
                for e in range(5)
            ]
            (folder / CURVE).write_text("".join(map(json_line, points)))
            record = make_result(
                seed=seed, method=method, benchmark=name, title=benchmark.title,
                benchmark_fingerprint=benchmark.fingerprint,
                aggregator="nonlinear" if position % 2 else "nextvlad",
                test=evaluate_scores(scores, labels, benchmark.groups),
                warnings=("<b>beware</b>",) if position == 0 else (),
            )  # fmt: skip
            save_record(record, folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    build(root, "first", "CharadesLT", ["meid", "cbs", "<img src=x onerror=alert(1)>"])
    build(root, "second", None, ["plain"], seeds=1)
    (runs_dir(root, "first") / "0-s0" / "inspect-VID.png").write_bytes(PIXEL)
    return root


@pytest.fixture(scope="module")
def page(root):
    path = root / "report.html"
    report = write_report(path, root=root)
    assert (report.runs, report.problems) == (7, ())
    return path


def test_page_says_everything(page):
    text = page.read_text(encoding="utf-8")
    for expected in (
        "Title of first", "Title of second", "chosen on the test list", "MEID, Table 3", "chance",
        "acc5",
        "meid-bench run --method meid --dataset first", "inspect", "data:image/png;base64,",
        "beware", "c" * 40,
    ):  # fmt: skip
        assert expected in text, expected


def test_records_are_escaped(page):
    text = page.read_text(encoding="utf-8")
    for raw in ("<script>document.title", "<img src=x", "<b>beware", "first <i>"):
        assert raw not in text
    assert "&lt;b&gt;beware" in text
    assert "$$x^2" not in re.sub(r'"classes": \[[^]]*\]', "", text)


def test_page_asks_nothing_of_any_server(page):
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?!data:)", text)


def test_nothing_one_or_broken_records_make_a_page_too(tmp_path):
    empty = write_report(tmp_path / "r.html", root=tmp_path)
    assert empty.runs == 0
    assert "no benchmark with a record" in (tmp_path / "r.html").read_text()
    build(tmp_path, "one", None, ["plain"], seeds=1)
    assert write_report(tmp_path / "r.html", root=tmp_path).runs == 1
    (runs_dir(tmp_path, "one") / "0-s0" / CURVE).write_text("{")
    (runs_dir(tmp_path, "one") / "bad").mkdir()
    (runs_dir(tmp_path, "one") / "bad" / "result.json").write_text("{<")
    report = write_report(tmp_path / "r.html", root=tmp_path)
    assert report.runs == 1
    assert len(report.problems) == 2
    assert "could not be read" in (tmp_path / "r.html").read_text()
    named = write_report(tmp_path / "r.html", ["one"], tmp_path, quick=True)
    assert named.runs == 0


def test_fifty_runs_stay_below_5_mb(tmp_path):
    classes = 157
    benchmark = make_benchmark()
    benchmark = replace(benchmark, classes=tuple(f"Doing something {c}" for c in range(classes)))
    save_benchmark(benchmark, benchmark_dir(tmp_path, "toy"))
    rng = np.random.default_rng(0)
    points = [CurvePoint("train", e, 1e-3, 0.1, {"overall": 0.123456789}, {}) for e in range(200)]
    curve = "".join(map(json_line, points))
    for run in range(50):
        test = replace(make_result().test, per_class_ap=tuple(rng.random(classes).tolist()))
        folder = runs_dir(tmp_path, "toy") / f"r{run}"
        record = make_result(
            seed=run % 3, method=f"m{run // 3}", test=test,
            benchmark_fingerprint=benchmark.fingerprint,
        )  # fmt: skip
        save_record(record, folder)
        (folder / CURVE).write_text(curve)
    report = write_report(tmp_path / "r.html", root=tmp_path)
    assert report.runs == 50
    assert report.path.stat().st_size < 5_000_000


def test_command_writes_the_page(root, tmp_path):
    output = tmp_path / "out.html"
    arguments = ["report", "--root", str(root), "--dataset", "second", "--output", str(output)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "1 runs" in done.output
    assert "Title of first" not in output.read_text(encoding="utf-8")


def test_command_refuses_a_benchmark_that_is_not_there(root):
    done = CliRunner().invoke(cli, ["report", "--root", str(root), "--dataset", "frist"])
    assert done.exit_code == 1
    assert "first" in done.output


@pytest.fixture(scope="module")
def browser(page):
    webdriver = pytest.importorskip("selenium.webdriver")
    programs = [shutil.which(name) for name in ("chromium", "google-chrome", "chromium-browser")]
    program = next(filter(None, programs), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("Chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--window-size=1200,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture
def opened(browser, page):
    browser.get(page.as_uri())
    ready(browser, "d0")
    yield browser
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []


def wait_until(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60).until(condition)


def ready(browser, dataset):
    script = "return document.body.dataset.ready"
    wait_until(browser, lambda b: b.execute_script(script) == dataset)


def column(browser, position):
    script = (
        "return [...document.querySelectorAll('section:not([hidden]) tbody.rows tr:not([hidden])')]"
        ".map(row => row.cells[arguments[0]].textContent)"
    )
    return browser.execute_script(script, position)


def find(browser, selector):
    return browser.find_element("css selector", selector)


def choose(browser, selector, value):
    from selenium.webdriver.support.ui import Select

    Select(find(browser, selector)).select_by_value(value)


def test_browser_draws_every_plot_and_fetches_nothing(opened):
    drawn = opened.execute_script(
        "return [...document.querySelectorAll('section:not([hidden]) .plot')]"
        ".map(p => p.firstElementChild !== null && p.getBoundingClientRect().height > 100)"
    )
    assert drawn == [True] * 4
    fetched = opened.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
        ".filter(n => !n.startsWith('data:') && !n.startsWith('blob:'))"
    )
    assert fetched == []
    assert opened.title == "meid-bench: results"


def test_browser_sorts_the_board(opened):
    buttons = opened.find_elements("css selector", "#d0 table.board thead button")
    headings = [button.text.split()[0] for button in buttons]
    overall = headings.index("overall")
    button = buttons[overall]
    button.click()
    descending = column(opened, overall)
    assert len(descending) == 3
    assert descending == sorted(descending, reverse=True)
    button.click()
    assert column(opened, overall) == descending[::-1]
    sorted_by = find(opened, "th[aria-sort]")
    assert sorted_by.get_attribute("aria-sort") == "ascending"


def test_browser_sorts_by_keyboard(opened):
    button = opened.find_elements("css selector", "thead button")[1]
    opened.execute_script("arguments[0].focus()", button)
    button.send_keys("\ue007")
    names = column(opened, 1)
    assert names == sorted(names)


def test_browser_filters_by_method_aggregator_and_benchmark(opened):
    choose(opened, "#method", "cbs")
    assert column(opened, 1) == ["cbs"]
    choose(opened, "#method", "")
    choose(opened, "#aggregator", "nextvlad")
    assert column(opened, 1) == ["meid", "<img src=x onerror=alert(1)>"]
    choose(opened, "#dataset", "d1")
    ready(opened, "d1")
    assert column(opened, 1) == ["plain"]


def test_browser_lays_two_methods_over_each_other(opened):
    find(opened, "#d0 details.classes summary").click()
    cell = "#d0 details.classes tbody tr td:nth-child(4)"
    before = [c.text for c in opened.find_elements("css selector", cell)]
    choose(opened, "#d0-a", "2")
    after = [c.text for c in opened.find_elements("css selector", cell)]
    assert len(before) == len(NASTY)
    assert before != after
    names = opened.find_elements("css selector", "#d0 details.classes tbody tr td:first-child")
    assert tuple(name.text for name in names) == NASTY


def test_browser_hides_a_learning_curve(opened):
    script = (
        "return Bokeh.documents.flatMap(d => [...d._all_models.values()])"
        ".filter(m => m.type === 'GlyphRenderer' && (m.tags || []).includes('curve-0'))"
        ".map(m => m.visible)"
    )
    assert opened.execute_script(script) == [True, True]
    find(opened, "[data-curve='curve-0']").click()
    assert opened.execute_script(script) == [False, False]


def test_browser_fits_a_phone_and_goes_dark(opened):
    phone = {"width": 390, "height": 850, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    width = "return document.documentElement.scrollWidth"
    wait_until(opened, lambda page: page.execute_script(width) <= 390)  # plots follow the window
    background = "return getComputedStyle(document.body).backgroundColor"
    ink = "return getComputedStyle(document.documentElement).getPropertyValue('--ink').trim()"
    axis = (
        "return Bokeh.documents.flatMap(d => [...d._all_models.values()])"
        ".find(m => m.type === 'LinearAxis').major_label_text_color"
    )
    colours = set()
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        # The page hears of a change with the next frame that it draws.
        wait_until(opened, lambda page: page.execute_script(axis) == page.execute_script(ink))
        colours.add((opened.execute_script(background), str(opened.execute_script(axis))))
    assert len({background for background, _ in colours}) == 2
    assert len({axis for _, axis in colours}) == 2
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
