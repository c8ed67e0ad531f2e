"""Signs requests as the `ollama` command does with `OLLAMA_AUTH=1`."""

import base64
import time
from collections.abc import Mapping

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class CliIdentity:
    """A key pair as `ollama serve` makes it, and what the command sends with it."""

    def __init__(self, seed: int = 1) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))
        raw = self._key.public_key().public_bytes_raw()
        self.public_key = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + raw).decode()

    @property
    def line(self) -> str:
        """What stands in `id_ed25519.pub`, with a name."""
        return f"ssh-ed25519 {self.public_key} somebody@machine"

    def authorization(self, method: str, path: str, seconds: int) -> str:
        """Return the header for a request at a time; `path` is without what the server's address holds."""
        signature = self._key.sign(f"{method},{path}?ts={seconds}".encode())
        return f"{self.public_key}:{base64.b64encode(signature).decode()}"

    def send(
        self, client: httpx.Client, method: str, path: str, *, seconds: int | None = None, **content: object
    ) -> httpx.Response:
        """Send a signed request."""
        now = int(time.time()) if seconds is None else seconds
        headers: Mapping[str, str] = {"authorization": self.authorization(method, path, now)}
        url = str(client.base_url).rstrip("/") + path
        return client.request(method, url, params={"ts": str(now)}, headers=headers, **content)  # type: ignore[arg-type]
