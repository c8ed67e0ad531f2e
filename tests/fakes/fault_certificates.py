"""Certificates with chosen defects, made when a test needs them."""

import ssl
import warnings
from datetime import UTC, datetime
from pathlib import Path

import trustme

EXPIRED = datetime(2024, 1, 1, tzinfo=UTC)


class Authority:
    """A certificate authority of the tests' own; its certificate lies in `certificate`."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "ca.pem"
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(str(self.certificate))

    def issue(self, host: str, end: datetime | None = None, *, trusted: bool = True) -> ssl.SSLContext:
        """Return a server's context with a certificate for `host`, valid until `end`."""
        start = None if end is None else end.replace(year=end.year - 1)
        issuer = self._ca if trusted else trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert(host, not_before=start, not_after=end).configure_cert(context)
        return context


def only_tls_1_0(context: ssl.SSLContext) -> ssl.SSLContext:
    """Make a server offer nothing better than TLS 1.0."""
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1
    return context
