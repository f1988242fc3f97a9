"""website/zensical.toml: the navigation lists every page once, and no page that does not exist."""

import tomllib
from collections.abc import Iterator
from typing import Any

from tests.paths import ROOT
from website.stage import api_pages, pages

PROJECT = tomllib.loads((ROOT / "website/zensical.toml").read_text(encoding="utf-8"))["project"]


def listed(entries: list[Any]) -> Iterator[str]:
    """The pages of a navigation: an entry is a page, or {title = page}, or {title = entries}."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for below in entry.values():
                yield from [below] if isinstance(below, str) else listed(below)


def test_the_navigation_lists_every_page_exactly_once() -> None:
    assert sorted(listed(PROJECT["nav"])) == sorted([*pages().values(), *api_pages()])


def test_the_navigation_starts_with_the_page_that_lists_the_others() -> None:
    assert next(listed(PROJECT["nav"])) == "index.md"


def test_the_site_fetches_no_fonts_and_opens_without_a_server() -> None:
    assert PROJECT["theme"]["font"] is False
    assert PROJECT["use_directory_urls"] is False
    assert not [script for script in PROJECT["extra"]["polyfills"] if "//" in script["path"]]
