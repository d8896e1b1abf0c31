"""What may be shown of a text that has a URL in it or comes from outside: in a log, a page, a record or an error.

One rule for all URLs: scheme, machine and port are shown, and nothing else. Where a secret stands differs by maker:
before an ``@``, in the query, as a segment of the path (webhooks, streams of recorders), with ``/``, ``?`` and ``@`` in
it as people paste them. So what is shown is what cannot be one, and no list of suspicious words decides.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = [
    "MAX_NAME",
    "may_hold_login",
    "name_fault",
    "printable",
    "shown",
    "shown_url",
    "shown_values",
    "shown_variable",
]

MAX_NAME = 200
"""Characters of a name that comes from outside: a part's, a trigger's."""
_MAX_TEXT = 4000
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://\S+")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)://")
_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+(?:%25\w+)?\])(?::[0-9]{1,5})?")
# As variables are called by custom, and secrets seldom are.
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,60}")
# Of a sentence around a URL, and of no URL that a machine could be found by.
_AFTER = ").,;:!'\"]}>"
# C0 and C1 but for tabs and line ends, and what turns the direction of a line around.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def shown(text: object) -> str:
    """A text as it may be shown: its URLs by ``shown_url``, without control characters, 4,000 characters at most."""
    whole = str(text)
    if "://" in whole:
        whole = _URL.sub(_in_a_sentence, whole)
    if len(whole) > _MAX_TEXT:
        whole = f"{whole[: _MAX_TEXT // 2]}...{whole[-_MAX_TEXT // 2 :]}"
    return _CONTROL.sub("\ufffd", whole)


def shown_url(url: str) -> str:
    """A URL as it may be shown: ``rtsp://camera:554/...``; a text that is none comes back as it is.

    Where user and password cannot be told from the machine (an ``@`` behind a ``/``), the machine is not shown either.
    """
    found = _SCHEME.match(url)
    if found is None:
        # With something before it, be it a space, it is a text with a URL in it.
        return shown(url) if "://" in url else url
    rest = url[found.end() :]
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    more = rest[len(authority) :]
    machine = authority.rpartition("@")[2]
    if _HOST.fullmatch(machine) is None or "@" in more or "%40" in more:
        return f"{found[0]}..."
    return f"{found[0]}{machine}{'' if more in ('', '/') else '/...'}"


def may_hold_login(text: str) -> bool:
    """Whether a text that is no URL may be the rest of one that has lost its beginning: ``user:password@machine``."""
    return re.search(r":.+@", text) is not None


def shown_values(value: Any) -> Any:
    """Plain JSON values with every text in them as ``shown`` gives it."""
    if isinstance(value, str):
        return shown_url(value) if _SCHEME.match(value) else shown(value)
    if isinstance(value, dict):
        return {key: shown_values(inner) for key, inner in value.items()}
    return [shown_values(inner) for inner in value] if isinstance(value, list | tuple) else value


def shown_variable(name: str) -> str:
    """How to call an environment variable that is not set: people write the secret itself where its name belongs."""
    if _VARIABLE.fullmatch(name):
        return f"The environment variable {name}"
    return (
        "The environment variable that a key ending in _env names (in small letters, and not shown: is it the secret?)"
    )


def printable(text: str) -> str:
    """One line that any manifest takes: control characters and bytes that are no UTF-8 replaced."""
    return re.sub(r"[\t\r\n\ud800-\udfff]", "\ufffd", _CONTROL.sub("\ufffd", text))


def name_fault(name: str) -> str:
    """Why a name from outside is not taken; empty for one that is."""
    if len(name) > MAX_NAME:
        return f"The name has {len(name)} characters; give at most {MAX_NAME}."
    if printable(name) != name:
        return "The name has control characters; give letters, digits and signs."
    return ""


def _in_a_sentence(found: re.Match[str]) -> str:
    url = found[0].rstrip(_AFTER)
    if url.endswith("/") and found[0].startswith("...", len(url)):
        url += "..."  # as it was shown before
    return shown_url(url) + found[0][len(url) :]
