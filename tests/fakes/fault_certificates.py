"""Certificates with chosen defects, made by the openssl command when a test needs them."""

import ssl
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path

PAST = "20200101000000Z"
FUTURE = "20990101000000Z"
EXPIRED = "20240101000000Z"


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the tests' own, in one folder."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> "Authority":
        authority = cls(folder)
        (folder / "index.txt").write_text("", encoding="ascii")
        (folder / "serial").write_text("01\n", encoding="ascii")
        (folder / "ca.cnf").write_text(_CONFIGURATION.format(folder=folder), encoding="ascii")
        authority._request("ca", "/CN=Test authority")
        authority._sign("ca", PAST, FUTURE, "-selfsign", "-keyfile", str(folder / "ca.key"), extensions="root")
        return authority

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, host: str, end: str = FUTURE, *, selfsigned: bool = False) -> ssl.SSLContext:
        """Return a server's context with a certificate for `host` that is valid until `end`."""
        self._request(name, f"/CN={name}")
        kind = "IP" if host.replace(".", "").isdigit() else "DNS"
        alternative = self.folder / f"{name}.cnf"
        alternative.write_text(f"[server]\nsubjectAltName={kind}:{host}\n", encoding="ascii")
        signer = ["-selfsign", "-keyfile", self._key(name)] if selfsigned else []
        self._sign(name, PAST, end, *signer, "-extfile", str(alternative), extensions="server")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.pem", self._key(name))
        return context

    def _key(self, name: str) -> str:
        return str(self.folder / f"{name}.key")

    def _request(self, name: str, subject: str) -> None:
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        files = ["-keyout", self._key(name), "-out", str(self.folder / f"{name}.csr")]
        self._openssl("req", "-new", *curve, *files, "-subj", subject, "-config", str(self.folder / "ca.cnf"))

    def _sign(self, name: str, start: str, end: str, *more: str, extensions: str) -> None:
        files = ["-in", str(self.folder / f"{name}.csr"), "-out", str(self.folder / f"{name}.pem")]
        span = ["-startdate", start, "-enddate", end, "-extensions", extensions]
        self._openssl("ca", "-batch", "-notext", "-config", str(self.folder / "ca.cnf"), *files, *span, *more)

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=20)  # noqa: S607


def only_tls_1_0(context: ssl.SSLContext) -> ssl.SSLContext:
    """Make a server offer nothing better than TLS 1.0."""
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1
    return context


_CONFIGURATION = """\
[req]
distinguished_name = nothing
[nothing]
[ca]
default_ca = tests
[tests]
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
default_md = sha256
policy = anything
unique_subject = no
[anything]
commonName = supplied
[root]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
"""
