"""The pages: links lead somewhere, what they say of each other agrees, and the site has all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = [
    *sorted(REPOSITORY.glob("*.md")),
    *sorted((REPOSITORY / "runtime").glob("*.md")),
    *sorted(DOCS.rglob("*.md")),
]
LINK = re.compile(r"\]\(((?!https?:|mailto:)[^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", flags=re.DOTALL | re.MULTILINE)


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as MkDocs and code hosts make them of plain headings."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    plain = (re.sub(r"[`*]|\[|\]\([^)]*\)", "", title).strip().lower() for title in titles)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title)) for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_pages_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in slugs(target), f"{page.name} links to {link}"


class _Names(yaml.SafeLoader):
    """Reads mkdocs.yml without the Python objects that it may name."""


def navigation(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    values = entry if isinstance(entry, list) else list(entry.values())
    return [page for value in values for page in navigation(value)]


def test_the_site_has_every_page_once() -> None:
    settings = yaml.load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"), Loader=_Names)
    named = navigation(settings["nav"])
    assert sorted(named) == sorted(str(page.relative_to(DOCS).as_posix()) for page in DOCS.rglob("*.md"))


def test_the_numbers_page_quotes_what_the_other_pages_say() -> None:
    """Each figure of the table "one data set, several figures" stands on the page that its row names."""
    text = (DOCS / "numbers.md").read_text(encoding="utf-8")
    table = text.partition("<!-- figures -->")[2].partition("<!-- /figures -->")[0]
    rows = [row.split("|")[1:-1] for row in table.splitlines() if row.startswith("| [")]
    assert len(rows) >= 6
    for row in rows:
        link = re.search(r"\]\(([^)#]+)", row[0])
        assert link is not None
        page = REPOSITORY / "README.md" if link[1].startswith("http") else DOCS / link[1]
        for figure in re.findall(r"0\.\d{4}", row[-1]):
            assert figure in page.read_text(encoding="utf-8"), f"{figure} is not on {page.name}"


def test_the_readmes_speeds_are_those_of_the_benchmarks() -> None:
    claim = next(
        line for line in (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines() if "Fast, on CPUs" in line
    )
    measured = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    figures = re.findall(r"[\d.]+(?:x| ms| s\b)", claim)
    assert len(figures) == 4
    assert [figure for figure in figures if figure not in measured] == []
