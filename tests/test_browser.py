"""The report's page in a real browser: Debian's chromium, without a network."""

import pytest
from children import PATIENCE
from layout import LAYOUT
from test_page import HOSTILE, page_of, write

DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
SHOWN = "[...document.querySelectorAll('#gallery img')].filter(i => i.offsetParent).map(i => i.dataset.view)"
BROKEN = """all => all.flatMap(one => [...one.childNodes]).filter(node => {
    const part = document.createRange();
    part.selectNodeContents(node);
    return node.nodeType === Node.TEXT_NODE && part.getClientRects().length > 1;
}).map(node => node.textContent)"""  # parts of names that are broken over two lines


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The page of two complete runs and one with only a result; their names are hostile or long."""
    place = tmp_path_factory.mktemp("runs")
    paths = [write(place, "\"&'<img src=x onerror=alert(1)>", 200), write(place, "long-" * 12, 260, command=HOSTILE)]
    paths.append(write(place, "bare" * 20, 100, whole=False, chosen=None))
    (paths[2] / "result.verdicts.safetensors").unlink()
    made = place / "report.html"
    made.write_text(page_of(paths))
    return made


@pytest.fixture
def opened(browser, file):
    """Return a function that opens the page; fail at the end on any error, dialogue or request but for the file."""
    faults, contexts = [], []

    def foreign(request):
        return request.url != file.as_uri() and not request.url.startswith("data:")

    def opening(viewport=DESKTOP, scheme="light"):
        contexts.append(browser.new_context(viewport=viewport, color_scheme=scheme))
        contexts[-1].set_default_timeout(1000 * PATIENCE)
        page = contexts[-1].new_page()
        page.on("console", lambda said: faults.append(f"console {said.type}: {said.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", lambda dialogue: (faults.append(f"dialogue: {dialogue.message}"), dialogue.dismiss()))
        page.on("request", lambda request: faults.append(f"request: {request.url[:90]}") if foreign(request) else None)
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-drawn]")
        return page

    yield opening
    for context in contexts:
        context.close()
    assert faults == []


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_few_bars_leave_no_blank_and_wide_tables_scroll(browser, tmp_path, viewport):
    names = ["robust_resnet18_of_cifar10-v2", "clean_resnet18"]
    (tmp_path / "report.html").write_text(page_of([write(tmp_path, name, 200) for name in names]))
    page = browser.new_page(viewport=viewport)
    page.set_default_timeout(1000 * PATIENCE)
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_selector("html[data-drawn]")
    assert page.evaluate(LAYOUT) == []
    wide = "all => all.filter(t => t.scrollWidth > t.clientWidth).map(t => getComputedStyle(t).overflowX)"
    scrolled = page.eval_on_selector_all(".scroll", wide)
    assert set(scrolled) <= {"auto"} and (scrolled or viewport is DESKTOP)
    assert page.eval_on_selector_all("h1 .name, h3.name, th.name", BROKEN) == []
    page.close()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_loads_and_every_chart_has_marks(opened, viewport, scheme):
    page = opened(viewport, scheme)
    marks = page.eval_on_selector_all(
        ".vega",
        """all => all.map(one => [...one.querySelectorAll(
            '.role-mark.mark-line path, .role-mark.mark-rect path')].filter(
            mark => mark.getBBox().width + mark.getBBox().height > 0).length)""",
    )
    assert len(marks) == 8 and min(marks) > 0, marks
    assert page.get_attribute("html", "data-drawn") == scheme
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(LAYOUT) == []
    seen = "all => all.every(one => one.getBoundingClientRect().left > 0)"
    assert page.eval_on_selector_all("#masking td .mark", seen)
    assert page.locator("#gallery img").count() == (2 + 1) * 2 * 3  # (students, teacher), examples, views
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth === 8)")


def test_the_gallery_flips_by_click_and_by_keyboard(opened):
    page = opened()
    assert page.evaluate(SHOWN) == ["image"] * 6
    page.click("label[for=view-adversarial]")
    assert page.evaluate(SHOWN) == ["adversarial"] * 6
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(SHOWN) == ["perturbation"] * 6
    page.focus("#theme")
    while page.evaluate("document.activeElement.name") != "view":
        page.keyboard.press("Tab")
    assert page.eval_on_selector("label[for=view-perturbation]", "one => getComputedStyle(one).outlineStyle") == "solid"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(SHOWN) == ["adversarial"] * 6


def test_the_theme_is_switched_remembered_and_followed_by_the_charts(opened):
    page = opened(scheme="dark")
    ink = "getComputedStyle(document.querySelector('.vega .role-axis-label text')).fill"
    before = page.evaluate(ink)
    page.click("#theme")
    page.wait_for_selector("html[data-drawn=light]")
    assert page.evaluate(ink) != before and page.inner_text("#theme") == "Dark"
    page.reload()
    page.wait_for_selector("html[data-drawn=light]")


def test_hostile_names_are_read_and_do_nothing(opened):
    page = opened()
    assert HOSTILE in page.inner_text("#gallery") and "<img src=x onerror=alert(1)>" in page.inner_text("h1")
    page.hover("#classes .mark-rect path >> nth=0")
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert "<script>" in page.inner_text("#vg-tooltip-element")
    assert page.locator("img[src=x]").count() == 0


def test_a_script_that_got_in_would_not_run(browser, file, tmp_path):
    """The page's content security policy alone prevents it, without the escaping."""
    broken = tmp_path / "broken.html"
    hostile = "<main><script>window.ran = 1</script><b onclick='ran = 1'>x</b>"
    broken.write_text(file.read_text().replace("<main>", hostile))
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(broken.as_uri())
    page.wait_for_selector("html[data-drawn]")
    page.click("main > b")
    assert page.evaluate("window.ran") is None
    page.close()
