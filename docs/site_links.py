"""For the site: links of pages to files outside of docs/ lead to the repository."""

from __future__ import annotations

import posixpath
import re
from typing import Any

LINK = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """MkDocs calls it with each page's text."""
    folder = posixpath.dirname(page.file.src_uri)

    def leads_out(link: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join("docs", folder, link[1]))
        return link[0] if place.startswith("docs/") else f"]({config.repo_url}/blob/main/{place}"

    return LINK.sub(leads_out, markdown)
