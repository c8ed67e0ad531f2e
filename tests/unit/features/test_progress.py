"""Downloads as answers."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from backend.core.errors import GatewayError
from backend.features.ollama_api.progress import ProgressAnswer
from backend.llm.errors import PullFailed
from tests.fakes.providers import drain


class Download:
    """Scripted progress that tells when it was stopped."""

    def __init__(self, *steps: Mapping[str, Any] | Exception) -> None:
        self.stopped = False
        self._steps = steps

    async def run(self) -> AsyncIterator[Mapping[str, Any]]:
        try:
            for step in self._steps:
                if isinstance(step, Exception):
                    raise step
                yield step
        finally:
            self.stopped = True


async def test_each_step_is_a_line() -> None:
    answer = ProgressAnswer(Download({"status": "a"}, {"status": "b"}).run(), is_streamed=True)
    assert await drain(answer) == b'{"status":"a"}\n{"status":"b"}\n'
    assert answer.finished


async def test_without_streaming_only_the_last_step_is_the_reply() -> None:
    answer = ProgressAnswer(Download({"status": "a"}, {"status": "b"}).run(), is_streamed=False)
    assert await drain(answer) == b'{"status":"b"}'


async def test_a_failure_is_the_last_line_and_a_proper_end() -> None:
    answer = ProgressAnswer(Download({"status": "a"}, PullFailed("gone")).run(), is_streamed=True)
    assert await drain(answer) == b'{"status":"a"}\n{"error":"gone"}\n'
    assert answer.finished


async def test_without_streaming_a_failure_keeps_its_status() -> None:
    answer = ProgressAnswer(Download({"status": "a"}, PullFailed("gone")).run(), is_streamed=False)
    with pytest.raises(PullFailed) as caught:
        await drain(answer)
    assert caught.value.status == 500


async def test_closing_stops_the_download_and_may_be_repeated() -> None:
    download = Download({"status": "a"}, {"status": "b"})
    answer = ProgressAnswer(download.run(), is_streamed=True)
    await anext(answer)
    await answer.aclose()
    await answer.aclose()
    assert download.stopped


async def test_what_cannot_be_closed_need_not_be() -> None:
    class Endless:
        def __aiter__(self) -> "Endless":
            return self

        async def __anext__(self) -> Mapping[str, Any]:
            return {"status": "more"}

    answer = ProgressAnswer(Endless(), is_streamed=True)
    assert await anext(answer) == b'{"status":"more"}\n'
    await answer.aclose()
    assert answer.encode_error(GatewayError("no")) == b'{"error":"no"}\n'
