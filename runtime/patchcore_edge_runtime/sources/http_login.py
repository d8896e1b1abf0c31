"""Logging in over HTTP: Digest (RFC 7616 and older) before Basic, whatever order a camera offers them in.

Not urllib's handlers: they look at one offer, know no SHA-256 (which a camera may offer first), and ask twice for each
picture because they forget what the camera said.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial

__all__ = ["Login"]

# Best first; a name without -SESS too.
_DIGESTS: dict[str, Callable[[bytes], hashlib._Hash]] = {
    "SHA-256": hashlib.sha256,
    "MD5": partial(hashlib.md5, usedforsecurity=False),
}
# Several may stand in one header: `Digest realm="x", qop="auth", Basic realm="x"`.
_CHALLENGE = re.compile(r"(?:^|,)\s*([A-Za-z][\w-]*)\s+(?=[\w-]+\s*=)|(?:^|,)\s*(NTLM|Negotiate)\b", re.IGNORECASE)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_PARAMETER = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


class Login:
    """A user's answers to what a camera asks; remembers the last challenge, so that it is asked once.

    Args:
        username: none logs in as nobody.
        password: of the user.
    """

    def __init__(self, username: str, password: str) -> None:
        self._username, self._password = username, password
        self._scheme = ""
        self._challenge: Mapping[str, str] = {}
        self._uses = 0

    def header(self, method: str, path: str) -> dict[str, str]:
        """The header for a request, once it is known what is asked for; ``path`` as in the request's first line."""
        if not self._username or not self._scheme:
            return {}
        if self._scheme == "basic":
            pair = f"{self._username}:{self._password}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        self._uses += 1
        return {"Authorization": self._digest(method, path)}

    def take(self, offers: Sequence[str]) -> bool:
        """Choose among the ``WWW-Authenticate`` headers of a 401; False where there is none that can be answered."""
        self._scheme, self._challenge = _choose(offers)
        self._uses = 0
        return bool(self._username and self._scheme)

    @property
    def stale(self) -> bool:
        """Whether the camera says that only its question was too old, and the password right."""
        return self._challenge.get("stale", "").lower() == "true"

    def _digest(self, method: str, path: str) -> str:
        asked = self._challenge
        algorithm = asked.get("algorithm", "MD5")
        make = _DIGESTS[algorithm.upper().removesuffix("-SESS")]

        def digest(*parts: str) -> str:
            return make(":".join(parts).encode()).hexdigest()

        realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
        cnonce, count = secrets.token_hex(8), f"{self._uses:08x}"
        secret = digest(self._username, realm, self._password)
        if algorithm.upper().endswith("-SESS"):
            secret = digest(secret, nonce, cnonce)
        words = {"username": self._username, "realm": realm, "nonce": nonce, "uri": path}
        plain = {}
        if "auth" in re.split(r"[\s,]+", asked.get("qop", "")):
            words["response"] = digest(secret, nonce, count, cnonce, "auth", digest(method, path))
            words["cnonce"] = cnonce
            plain = {"qop": "auth", "nc": count}
        else:
            words["response"] = digest(secret, nonce, digest(method, path))
        if "opaque" in asked:
            words["opaque"] = asked["opaque"]
        if "algorithm" in asked:
            plain["algorithm"] = algorithm
        quoted = [f'{key}="{_escape(value)}"' for key, value in words.items()]
        return "Digest " + ", ".join([*quoted, *(f"{key}={value}" for key, value in plain.items())])


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "")


def _choose(offers: Sequence[str]) -> tuple[str, Mapping[str, str]]:
    """The strongest of the offers that can be answered: ``digest`` or ``basic`` and its parameters."""
    found: dict[str, Mapping[str, str]] = {}
    for offer in offers:
        for scheme, words in _challenges(offer):
            if scheme == "digest" and _known(words):
                found.setdefault(f"digest {words.get('algorithm', 'MD5').upper().removesuffix('-SESS')}", words)
            elif scheme == "basic":
                found.setdefault("basic", words)
    for name in (*(f"digest {name}" for name in _DIGESTS), "basic"):
        if name in found:
            return name.split()[0], found[name]
    return "", {}


def _known(words: Mapping[str, str]) -> bool:
    qop = re.split(r"[\s,]+", words.get("qop", "auth"))
    return words.get("algorithm", "MD5").upper().removesuffix("-SESS") in _DIGESTS and "auth" in qop


def _challenges(offer: str) -> list[tuple[str, dict[str, str]]]:
    # What is quoted is no scheme, whatever it says.
    starts = list(_CHALLENGE.finditer(_QUOTED.sub(lambda quoted: "x" * len(quoted[0]), offer)))
    if not starts:
        return [(offer.strip().split(" ")[0].lower(), {})] if offer.strip() else []
    found = []
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        text = offer[start.end() : following.start() if following is not None else len(offer)]
        words = {
            key.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
            for key, quoted, plain in _PARAMETER.findall(text)
        }
        found.append(((start[1] or start[2]).lower(), words))
    return found
