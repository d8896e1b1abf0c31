"""HTTPS to cameras, whose certificates are mostly their own: what vouches for one, and what is said otherwise."""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, SourceError

__all__ = ["CertificateError", "Trust", "TrustingConnection"]

_PEM = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class CertificateError(SourceError):
    """Nothing vouches for a camera's certificate; nothing was sent to it."""


@dataclass(frozen=True)
class Trust:
    """Which certificate is a camera's.

    Attributes:
        ca_file: PEM file of an authority, or of the camera's certificate itself, whose name then need not fit.
        fingerprint: SHA-256 of the certificate in hexadecimal digits; nothing else of it counts, nor its dates.
    """

    ca_file: Path | None = None
    fingerprint: str | None = None

    def context(self, *, names: bool) -> ssl.SSLContext:
        """What a connection is made with.

        Args:
            names: the certificate must be made out to the camera's address.

        Raises:
            ConfigError: ``ca_file`` cannot be read or holds no certificate.
        """
        if self.fingerprint is not None:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        context = _authorities(self.ca_file)
        context.check_hostname = names
        return context

    def own_certificates(self) -> Sequence[bytes]:
        """The certificates in ``ca_file``, in DER."""
        if self.ca_file is None:
            return ()
        # Not the context's own list: that one holds authorities only, and a camera's certificate may be none.
        blocks = _PEM.findall(self.ca_file.read_text(encoding="ascii", errors="replace"))
        return [ssl.PEM_cert_to_DER_cert(block) for block in blocks]


def _authorities(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{ca_file} holds no certificate in PEM that can be read ({_words(error)}).") from None
    if ca_file is not None:
        # A camera's certificate is seldom of the strict form, and is its own authority or none's.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _words(error: Exception) -> str:
    return str(getattr(error, "verify_message", "") or getattr(error, "strerror", "") or error)


class TrustingConnection(http.client.HTTPSConnection):
    """HTTPS that sends nothing before the certificate is known to be the camera's."""

    def __init__(self, host: str, port: int, timeout: float, trust: Trust, name: str) -> None:
        super().__init__(host, port, timeout=timeout, context=trust.context(names=trust.ca_file is None))
        self._trust, self._name = trust, name

    def connect(self) -> None:
        """Connect and check; raises ``CertificateError``."""
        try:
            super().connect()
            self._check()
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise self._refusal(_words(error)) from None
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        shown = self.sock.getpeercert(binary_form=True) or b""
        if self._trust.fingerprint is not None:
            if hashlib.sha256(shown).hexdigest() != self._trust.fingerprint:
                raise CertificateError(
                    f"{self._name} shows another certificate than the one of the fingerprint in [source] "
                    f"(SHA-256 {hashlib.sha256(shown).hexdigest()}); find out why before you change it."
                )
        elif self._trust.ca_file is not None and shown not in self._trust.own_certificates():
            # Vouched for by an authority: then it must be made out to this address.
            self.sock.close()
            with socket.create_connection((self.host, self.port), self.timeout) as plain:
                context = self._trust.context(names=True)
                self.sock = context.wrap_socket(plain, server_hostname=self.host)

    def _refusal(self, why: str) -> CertificateError:
        try:
            pem = ssl.get_server_certificate((self.host, self.port), timeout=self.timeout or 5)
            digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
        except (OSError, ValueError):
            return CertificateError(f"{self._name} shows a certificate that nothing vouches for ({why}).")
        return CertificateError(
            f"{self._name} shows a certificate that nothing vouches for ({why}); if it is the camera's own, say so in "
            f"[source]: fingerprint = '{digest}', or ca_file where an authority of yours signed it."
        )
