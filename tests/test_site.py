"""The site builds without a warning, and what it links to is there: pages, anchors, files; nothing is fetched from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import components

ROOT = Path(__file__).parents[1]
FETCHED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src"), ("object", "data")}


class Page(HTMLParser):
    """What a page links to, what it fetches by itself, and its anchors."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        for name in ("href", "src", "data"):
            if name in given:
                fetched = (tag, name) in FETCHED or (tag == "link" and given.get("rel") not in ("canonical", "prev", "next"))
                (self.fetched if fetched else self.links).append(given[name])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Ten seconds: the reference is read from every docstring."""
    out = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html") if file.name != "404.html"}  # which is made for a server


def test_every_link_leads_to_a_page_and_a_place_on_it(site, pages):
    wrong, seen = [], 0
    for file, page in pages.items():
        for link in (*page.links, *page.fetched):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith(("#__", "javascript:")):
                continue
            seen += 1
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not target.is_file():  # a folder opened from a folder is a listing
                wrong.append(f"{file.relative_to(site)}: {link}: no such file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                wrong.append(f"{file.relative_to(site)}: {link}: no such place")
    assert not wrong, "\n".join(wrong)
    assert seen > 1000


def test_nothing_is_fetched_from_elsewhere(site, pages):
    for file, page in pages.items():
        assert not [link for link in page.fetched if "//" in link], file.relative_to(site)
    for style in site.rglob("*.css"):
        assert "url(http" not in style.read_text(encoding="utf8").replace('"', ""), style.relative_to(site)


def test_search_works_without_a_server(site):
    """The index is a script, since a page opened from a folder may not read a file beside it."""
    index = (site / "search" / "search_index.js").read_text(encoding="utf8")
    for words in ("sliding_window", "hyper_connections", "components.build"):
        assert words in index
    assert "iframe-worker.js" in (site / "index.html").read_text(encoding="utf8")


def test_what_is_made_when_the_site_is_built_is_whole(site):
    """Every command, every kind's contract, every decision; a page that is in no section makes the build fail."""
    from components.cli.verbs import verbs
    from components.core import registry

    def page(name: str) -> str:
        return (site / name).read_text(encoding="utf8")

    assert not [name for name in verbs() if f'id="{name}"' not in page("reference/commands.html")]
    assert not [name for name in registry.kinds() if f'id="{name}"' not in page("reference/contracts.html")]
    assert not [
        p for p in (ROOT / "docs" / "decisions").glob("*-*.md") if f'href="{p.stem}.html"' not in page("decisions/index.html")
    ]
    public = [name for name in components.__all__ if name != "__version__"]
    assert not [name for name in public if f'id="components.{name}"' not in page("reference/api.html")]
    assert "delta_net" in page("gallery.html")
    for file in site.rglob("*.html"):
        assert "<!-- made" not in file.read_text(encoding="utf8"), file
