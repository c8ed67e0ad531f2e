"""A gateway process with a fault upstream behind it, and what tests ask of the two."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.fault_client import Reply, ask
from tests.fakes.fault_upstream import FaultUpstream
from tests.fakes.fault_wires import ANSWER, SECRET
from tests.fixtures.gateway import Gateway

CONNECT = 1.0
FIRST_BYTE = 1.0
IDLE = 1.0
TOTAL = 4.0
WRITE_STALL = 1.5
SHORT_TIMERS = {
    "GATEWAY_TIMEOUTS__CONNECT_SECONDS": str(CONNECT),
    "GATEWAY_TIMEOUTS__FIRST_BYTE_SECONDS": str(FIRST_BYTE),
    "GATEWAY_TIMEOUTS__IDLE_SECONDS": str(IDLE),
    "GATEWAY_TIMEOUTS__TOTAL_SECONDS": str(TOTAL),
    "GATEWAY_TIMEOUTS__WRITE_STALL_SECONDS": str(WRITE_STALL),
    "GATEWAY_BREAKER__FAILURES": "1000000",
}
StartGateway = Callable[[Mapping[str, str]], Gateway]
TOTALS = ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count")


def mistral(url: str) -> dict[str, str]:
    return {"MISTRAL_API_KEY": "test-key-of-the-gateway", "MISTRAL_BASE_URL": url}


def ollama(url: str) -> dict[str, str]:
    return {"OLLAMA_BASE_URLS": url}


async def eventually(holds: Callable[[], bool], within: float) -> bool:
    """Wait until `holds()` does, at most `within` seconds, and return whether it did."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True


@dataclass(frozen=True)
class Rig:
    """One gateway and the upstream it relays to."""

    gateway: Gateway
    upstream: FaultUpstream
    log_start: int = 0

    @classmethod
    def from_now(cls, gateway: Gateway, upstream: FaultUpstream) -> "Rig":
        return cls(gateway, upstream, len(gateway.log_text()))

    async def ask(self, model: str, **extra: Any) -> Reply:
        return await ask(self.gateway.port, model, **extra)

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.gateway.process.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def open_files(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.gateway.process.pid}/fd").iterdir())

    async def assert_healthy(self) -> None:
        """Check that no trouble outlived the request that caused it."""
        reply = await self.ask("ok")
        assert reply.status == 200, reply.text
        assert_answered(reply)
        assert await eventually(lambda: self.upstream.open_streams() == 0, 2), "an upstream stream was left open"
        assert self.gateway.process.poll() is None
        assert "Traceback" not in self.log_text(), self.log_text()[-4000:]

    def log_text(self) -> str:
        """Return what the gateway logged since `log_start`, so that one test's trouble stays its own."""
        return self.gateway.log_text()[self.log_start :]


def assert_answered(reply: Reply, content: str = "".join(ANSWER)) -> dict[str, Any]:
    """Check for a whole, clean answer and return its last line."""
    assert reply.status == 200, reply.text
    assert reply.complete, reply.text
    assert reply.content == content
    last = reply.lines[-1]
    assert last["done"] is True
    assert last["done_reason"]
    for name in (*TOTALS, "eval_duration"):
        assert last[name] > 0, (name, last)
    assert not any(line["done"] for line in reply.lines[:-1])
    return last


def assert_refused(reply: Reply, *statuses: int) -> str:
    """Check for an error that came instead of a stream and return its sentence."""
    assert reply.status in statuses, (reply.status, reply.text)
    assert reply.complete
    assert reply.headers["content-type"].startswith("application/json")
    assert list(reply.json) == ["error"], reply.text
    assert SECRET not in reply.text
    sentence = reply.json["error"]
    assert isinstance(sentence, str)
    assert sentence
    return sentence


def assert_cut(reply: Reply, content: str = ANSWER[0] + ANSWER[1]) -> str:
    """Check for an answer that kept its first tokens, then told its error and was cut."""
    assert reply.status == 200, reply.text
    assert not reply.complete, "a broken answer must not end like a whole one"
    *lines, last = reply.lines
    assert reply.content == content
    assert list(last) == ["error"], last
    assert not any(line["done"] for line in lines)
    assert SECRET not in reply.text
    sentence = last["error"]
    assert isinstance(sentence, str)
    assert sentence
    return sentence
