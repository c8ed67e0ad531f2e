"""Open answers as bytes: read ahead, settled once with how they ended."""

from collections.abc import Sequence
from typing import Any

import pytest

from backend.core.clock import Timestamps, monotonic_ns
from backend.core.errors import GatewayError
from backend.features.generation.answer import EncodedAnswer, VerbatimAnswer
from backend.features.generation.meter import Meter
from backend.features.generation.record import Outcome
from backend.llm.errors import ProviderProtocolError
from backend.llm.events import Finished, Started, TextDelta, Usage
from backend.wire.ollama.encoders import CHAT, LineEncoder
from tests.fakes.providers import HELLO, LineStep, ScriptedLines, ScriptedStream, Step, drain

LAST = b'{"done":true,"prompt_eval_count":7,"eval_count":2}\n'


class Rig:
    """One answer, and the outcomes it was settled with."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.meter = Meter(monotonic_ns(), lambda: 40)
        self.encoder = LineEncoder("m", CHAT, Timestamps())

    async def settle(self, outcome: Outcome, _error: GatewayError | None) -> None:
        self.outcomes.append(outcome)

    def encoded(self, steps: Sequence[Step]) -> tuple[EncodedAnswer, ScriptedStream]:
        stream = ScriptedStream(steps)
        return EncodedAnswer(stream, self.encoder, self.meter, self.settle, is_streamed=True), stream

    def verbatim(self, *steps: LineStep) -> tuple[VerbatimAnswer, ScriptedLines]:
        stream = ScriptedLines(steps)
        return VerbatimAnswer(stream, self.encoder, self.meter, self.settle, is_streamed=True), stream


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_priming_reads_up_to_the_first_bytes_and_loses_none(rig: Rig) -> None:
    answer, _ = rig.encoded(HELLO)
    await answer.prime()
    assert not answer.finished
    pieces = [piece async for piece in answer]
    assert [piece.count(b"\n") for piece in pieces] == [1, 2]
    assert answer.finished


async def test_an_answer_in_one_read_is_finished_with_its_first_bytes(rig: Rig) -> None:
    answer, _ = rig.encoded([[Started(), TextDelta("a"), Finished("stop")]])
    await answer.prime()
    assert answer.finished
    assert len([piece async for piece in answer]) == 1


async def test_priming_raises_what_the_upstream_says_first(rig: Rig) -> None:
    answer, _ = rig.encoded([[Started()], ProviderProtocolError("bad")])
    with pytest.raises(ProviderProtocolError):
        await answer.prime()


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        (HELLO, "ok"),
        ([[TextDelta("a")], ProviderProtocolError("bad")], "error"),
    ],
)
async def test_an_answer_is_settled_once_with_how_it_ended(rig: Rig, steps: Any, outcome: Outcome) -> None:
    answer, stream = rig.encoded(steps)
    try:
        await drain(answer)
    except GatewayError:
        assert outcome == "error"
    await answer.aclose()
    await answer.aclose()
    assert rig.outcomes == [outcome]
    assert stream.closes >= 1


async def test_an_answer_nobody_waited_for_is_interrupted(rig: Rig) -> None:
    answer, _ = rig.encoded(HELLO)
    await answer.prime()
    await answer.aclose()
    assert rig.outcomes == ["interrupted"]


async def test_an_upstream_that_cannot_even_be_closed_is_still_settled(rig: Rig) -> None:
    class Stuck(ScriptedStream):
        async def aclose(self) -> None:
            raise OSError

    encoder = LineEncoder("m", CHAT, Timestamps())
    answer = EncodedAnswer(Stuck(HELLO), encoder, rig.meter, rig.settle, is_streamed=True)
    with pytest.raises(OSError):  # noqa: PT011 (any)
        await answer.aclose()
    assert rig.outcomes == ["interrupted"]


async def test_an_error_in_mid_answer_is_written_by_the_encoder(rig: Rig) -> None:
    answer, _ = rig.encoded(HELLO)
    assert answer.encode_error(GatewayError("no")) == b'{"error":"no"}\n'
    lines, _ = rig.verbatim(LAST)
    assert lines.encode_error(GatewayError("no")) == b'{"error":"no"}\n'


async def test_bytes_pass_untouched_and_their_counts_are_read(rig: Rig) -> None:
    answer, stream = rig.verbatim(b'{"x": 1,  "done":false}\n', LAST)
    await answer.prime()
    assert await drain(answer) == b'{"x": 1,  "done":false}\n' + LAST
    await answer.aclose()
    assert answer.finished
    assert rig.outcomes == ["ok"]
    assert rig.meter.settle() == Usage(7, 2)
    assert stream.closes == 1


@pytest.mark.parametrize("counts", ['"prompt_eval_count":-1', '"eval_count":"9"', '"eval_count":1e12'])
async def test_counts_that_are_none_are_not_believed(rig: Rig, counts: str) -> None:
    answer, _ = rig.verbatim(f'{{"done":true,{counts}}}\n'.encode())
    await drain(answer)
    assert rig.meter.usage == Usage()


async def test_a_passed_through_answer_that_breaks_is_an_error(rig: Rig) -> None:
    answer, _ = rig.verbatim(b'{"done":false}\n', ProviderProtocolError("cut"))
    with pytest.raises(ProviderProtocolError):
        await drain(answer)
    await answer.aclose()
    assert rig.outcomes == ["error"]
