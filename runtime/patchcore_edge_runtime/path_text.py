"""Names of files as text that any file, log and screen takes, and back.

On Linux a name is bytes, and those that are no UTF-8 (a ZIP from Windows, an old NAS) reach Python as lone surrogates
(PEP 383), which no UTF-8 file can hold and many JSON readers refuse.
"""

from __future__ import annotations

import os
import re

__all__ = ["encodable", "home_path", "path_from_text", "path_text"]

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4})")
_BYTE = 0xDC00
_BACKSLASH = r"\\x5c"


def path_text(path: str | os.PathLike[str]) -> str:
    r"""A path to write down: unchanged where it can be, else with each byte that is no text as ``\xfc``.

    A backslash that would read as the beginning of such an escape becomes ``\x5c``; so no two paths have one text, and
    ``path_from_text`` finds the file again. To be called once: of its own result it makes another text.
    """
    return encodable(_ESCAPE.sub(_BACKSLASH + r"\1", os.fspath(path)))


def path_from_text(text: str) -> str:
    """The path that ``path_text`` wrote down."""
    return _ESCAPE.sub(lambda found: _character(found[1]), text)


def home_path(path: str | os.PathLike[str]) -> str:
    """A path whose ``~`` at its beginning is the home folder, as shells have it where it begins a word; else the same.

    Where nobody knows the home folder, or a folder here is really called so, it stays as it is.
    """
    text = os.fspath(path)
    return text if os.path.lexists(text.partition("/")[0]) else os.path.expanduser(text)  # noqa: PTH111


def encodable(text: str) -> str:
    r"""A sentence with the names in it as ``path_text`` writes them; may be called more than once."""
    return text if text.isascii() else _SURROGATE.sub(lambda found: _escape(ord(found[0])), text)


def _escape(code: int) -> str:
    # Beyond the bytes of a Linux name: half a character, which Windows lets a name have.
    return f"\\x{code - _BYTE:02x}" if _BYTE + 0x80 <= code <= _BYTE + 0xFF else f"\\u{code:04x}"


def _character(escape: str) -> str:
    code = int(escape[1:], 16)
    return chr(_BYTE + code) if escape[0] == "x" and code >= 0x80 else chr(code)
