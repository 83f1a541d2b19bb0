"""The site of docs/ builds without a network, requests nothing from other hosts, and is checked in a real browser."""

import os
import re
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from children import PATIENCE
from conftest import ROOT
from layout import LAYOUT

DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
FETCHED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    offline = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}  # where nobody listens
    environment = os.environ | offline | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *said):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def opened(browser, address):
    """Return a function that opens a page; afterwards, fail on any error or any request to another host."""
    faults, contexts = [], []

    def opening(path="", viewport=DESKTOP, scheme="light"):
        contexts.append(browser.new_context(viewport=viewport, color_scheme=scheme))
        contexts[-1].set_default_timeout(1000 * PATIENCE)
        page = contexts[-1].new_page()
        page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith((address, "data:")) else faults.append(asked.url))
        assert page.goto(address + path).ok, path
        return page

    yield opening
    for context in contexts:
        context.close()
    assert faults == []


def fetched(html):
    """The URLs that a browser would fetch to show a page."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, given: found.append(dict(given).get(FETCHED.get(tag)))
    parser.feed(html)
    return [url for url in found if url]


def test_every_document_is_a_page_and_the_measured_results_are(site):
    built = {path.relative_to(site).with_suffix(".md") for path in site.rglob("*.html")}
    documents = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    results = {path.relative_to(ROOT) for path in (ROOT / "benchmarks" / "results").glob("*.md")}
    assert documents | results <= built


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        urls = fetched(page.read_text())
        assert len(urls) > 3
        assert [url for url in urls if re.match(r"(?:https?:)?//", url)] == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", style.read_text()), style


def test_the_reference_shows_signatures_and_docstrings(site):
    text = re.sub(r"<[^>]+>", "", (site / "api" / "training.html").read_text())
    assert "Distiller(" in text and "its attack, usable in any training loop" in text
    assert "epochs:int=50" in re.sub(r"\s|&nbsp;", "", text)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_the_screen_and_follow_its_scheme(opened, viewport, scheme):
    for path in ("index.html", "methods.html", "api/training.html"):
        page = opened(path, viewport, scheme)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        shown = page.get_attribute("body", "data-md-color-scheme")
        assert shown == {"light": "default", "dark": "slate"}[scheme]


def test_the_scheme_is_switched_and_remembered(opened):
    page = opened(scheme="dark")
    page.click("label[title=Light]")
    page.goto(page.url + "faq.html")
    assert page.get_attribute("body", "data-md-color-scheme") == "default"


def test_the_search_finds_a_question(opened):
    page = opened()
    page.click(".md-search__input")
    page.keyboard.type("batchmean")
    page.wait_for_selector(".md-search-result__link[href*='faq']")


def test_the_search_finds_it_from_the_disk_too(browser, site):
    context = browser.new_context(viewport=DESKTOP)
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: faults.append(asked.url) if asked.url.startswith("http") else None)
    page.goto((site / "index.html").as_uri())
    page.click(".md-search__input")
    page.keyboard.type("batchmean")
    page.click(".md-search-result__link[href*='faq']")
    page.wait_for_url("**/faq.html*")
    context.close()
    assert faults == []


def test_on_every_page_nothing_is_cut_and_nothing_overlaps(browser, address, site):
    context = browser.new_context()
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    wrong = {}
    for file in sorted(site.rglob("*.html")):
        path = file.relative_to(site).as_posix()
        if path.endswith("report/report.html"):  # a page of its own, see test_browser.py
            continue
        page.goto(address + path)
        for screen, viewport in (("desktop", DESKTOP), ("phone", PHONE)):  # loading a page takes longest
            page.set_viewport_size(viewport)
            if found := page.evaluate(LAYOUT):
                wrong[path, screen] = found[:5]
    context.close()
    assert wrong == {}
