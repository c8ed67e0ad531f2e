"""Real Ollama machines: answers let through, models of their own, and replies that cannot be trusted."""

import json
from typing import Any

import pytest

from backend.llm.capabilities import Capability
from backend.llm.errors import ModelNotFound, ProviderError, ProviderProtocolError, PullFailed
from backend.llm.events import Finished, TextDelta, Timings
from backend.llm.types import ChatRequest, CompletionRequest, EmbedRequest, Message, Sampling, TextPart, WireSource
from backend.providers.ollama import OllamaProvider
from backend.providers.watchdog import Timeouts
from tests.contract.wires import Ollama
from tests.fakes.providers import Answer, Body, MockUpstream, Piece, collect, drain, until_error

WIRE = Ollama()
NDJSON = WIRE.content_type
USER = (Message("user", (TextPart("hello"),)),)
DEEP = b"[" * 40_000 + b"]" * 40_000


def provider_of(up: MockUpstream) -> OllamaProvider:
    return OllamaProvider(up.upstream, list_timeout=1)


def lines(*pieces: Piece) -> MockUpstream:
    return MockUpstream(Answer(Body(*pieces), content_type=NDJSON))


def source(path: str = "/api/chat", **body: Any) -> WireSource:
    return WireSource("ollama", path, {"model": "m", "messages": [{"role": "user", "content": "x"}], **body})


class TestPassthrough:
    """The machine's own bytes, whole lines at a time."""

    async def test_bytes_are_let_through_untouched(self) -> None:
        sent = [b'{"message":{"content":"a"} ,  "done":false}\n{"x"', b':1,"done":false}\n', WIRE.end()]
        up = lines(*sent)
        stream = await provider_of(up).open_lines(source(extra={"kept": True}))
        assert await drain(stream) == b"".join(sent)
        assert stream.last_line()["eval_count"] == 2
        await stream.aclose()
        assert (up.asked[0].path, up.asked[0].body) == ("/api/chat", source(extra={"kept": True}).body)
        assert up.bodies[0].closes == 1

    @pytest.mark.parametrize("body", [{"stream": False}, {"messages": []}])
    async def test_a_whole_reply_is_an_object_and_may_take_its_time(self, body: dict[str, Any]) -> None:
        answer = Answer(Body(b'{"done":true}', pause=0.04), content_type="application/json; charset=utf-8")
        up = MockUpstream(answer, timeouts=Timeouts(1, 5, 5, 5))
        stream = await provider_of(up).open_lines(source(**body))
        assert await drain(stream) == b'{"done":true}'
        await stream.aclose()

    @pytest.mark.parametrize(
        ("last", "kind"),
        [
            (b'{"error":"boom"}\n', ProviderError),
            (b'{"error":"boom"}', ProviderError),
            (b"", ProviderProtocolError),
            (b"garbage\n", ProviderProtocolError),
            (b"[1]\n", ProviderProtocolError),
            (b'{"done":', ProviderProtocolError),
            pytest.param(b'{"x":' + DEEP + b"}\n", ProviderProtocolError, id="nested"),
        ],
    )
    async def test_a_bad_end_is_an_error_after_what_came_before(self, last: bytes, kind: type[ProviderError]) -> None:
        stream = await provider_of(lines(WIRE.text("a"), last)).open_lines(source())
        told, _ = await until_error(stream, kind)
        assert b"".join(told) == WIRE.text("a")
        assert stream.last_line() == {}
        await stream.aclose()


async def test_chat_is_written_in_ollamas_words_when_it_cannot_be_let_through() -> None:
    up = lines(WIRE.text("hi") + WIRE.end())
    request = ChatRequest("m", USER, sampling=Sampling(temperature=0.5, max_tokens=9), thinking="low", keep_alive=-1.0)
    stream = await provider_of(up).open_chat(request)
    assert TextDelta("hi") in await collect(stream)
    await stream.aclose()
    body = up.asked[0].body
    assert body["options"] == {"temperature": 0.5, "num_predict": 9}
    assert (body["think"], body["keep_alive"], body["stream"]) == ("low", -1.0, True)


async def test_the_machines_own_timings_are_kept() -> None:
    done = b'{"done":true,"load_duration":1,"prompt_eval_duration":2,"eval_duration":3,"total_duration":6}\n'
    stream = await provider_of(lines(WIRE.text("a"), done)).open_chat(ChatRequest("m", USER))
    last = (await collect(stream))[-1]
    await stream.aclose()
    assert isinstance(last, Finished)
    assert last.timings == Timings(1, 2, 3, 6)


@pytest.mark.parametrize(("suffix", "expected"), [(None, {"raw": True}), ("end", {"suffix": "end"})])
async def test_a_completion_is_raw_or_has_a_suffix(suffix: str | None, expected: dict[str, Any]) -> None:
    up = lines(b'{"response":"hi","done":false}\n', WIRE.end())
    stream = await provider_of(up).open_completion(CompletionRequest("m", "start", suffix))
    assert TextDelta("hi") in await collect(stream)
    await stream.aclose()
    assert up.asked[0].path == "/api/generate"
    assert expected.items() <= up.asked[0].body.items()


class TestEmbed:
    """Vectors as the machine gave them, one per text."""

    async def test_the_callers_own_body_is_sent_on_with_the_upstreams_name(self) -> None:
        up = MockUpstream(Answer(b'{"embeddings":[[1,2],[3,4]],"prompt_eval_count":6}'))
        wanted = WireSource("ollama", "/api/embed", {"model": "M", "input": ["a", "b"], "options": {"num_ctx": 1}})
        done = await provider_of(up).embed(EmbedRequest("m:latest", ("a", "b"), source=wanted))
        assert (done.vectors, done.prompt_tokens) == ([[1, 2], [3, 4]], 6)
        assert up.asked[0].body == {"model": "m:latest", "input": ["a", "b"], "options": {"num_ctx": 1}}

    async def test_the_older_route_has_one_vector(self) -> None:
        up = MockUpstream(Answer(b'{"embedding":[1,2]}'))
        wanted = WireSource("ollama", "/api/embeddings", {"model": "M", "prompt": "a"})
        done = await provider_of(up).embed(EmbedRequest("m", ("a",), source=wanted))
        assert (done.vectors, up.asked[0].path) == ([[1, 2]], "/api/embeddings")

    async def test_without_the_callers_body_it_is_written_anew(self) -> None:
        up = MockUpstream(Answer(b'{"embeddings":[[1]]}'))
        await provider_of(up).embed(EmbedRequest("m", ("a",), dimensions=4, truncate=False))
        assert up.asked[0].body == {"model": "m", "input": ["a"], "truncate": False, "dimensions": 4}

    @pytest.mark.parametrize("has_source", [True, False])
    async def test_a_vector_too_few_is_an_error(self, has_source: bool) -> None:
        up = MockUpstream(Answer(b'{"embeddings":[[1]]}'))
        wanted = WireSource("ollama", "/api/embed", {"input": ["a", "b"]}) if has_source else None
        with pytest.raises(ProviderProtocolError):
            await provider_of(up).embed(EmbedRequest("m", ("a", "b"), source=wanted))

    @pytest.mark.parametrize(
        "body",
        [b"", b"[]", b'{"embeddings":[["a"]]}', b"\xff", pytest.param(b'{"x":' + DEEP + b"}", id="nested")],
    )
    async def test_unreadable_vectors_are_an_error_of_the_upstream(self, body: bytes) -> None:
        with pytest.raises(ProviderProtocolError):
            await provider_of(MockUpstream(Answer(body))).embed(EmbedRequest("m", ("a",)))

    @pytest.mark.parametrize("count", [-4, 10**400])
    async def test_a_count_that_cannot_be_is_not_believed(self, count: int) -> None:
        up = MockUpstream(Answer(b'{"embeddings":[[1]],"prompt_eval_count":%d}' % count))
        done = await provider_of(up).embed(EmbedRequest("m", ("a",)))
        assert 0 <= done.prompt_tokens < 10**9


class TestModels:
    """The machine's own lists and descriptions, never trusted blindly."""

    async def test_entries_are_kept_as_they_are_without_cloud_fields(self) -> None:
        entry = {
            "name": "llama3:8b",
            "model": "llama3:8b",
            "remote_host": "https://x",
            "details": {"family": "llama", "context_length": 8192},
            "capabilities": ["completion", "tools", "telepathy"],
            "expires": None,
        }
        [model] = await provider_of(MockUpstream(Answer(json.dumps({"models": [entry]}).encode()))).list_models()
        assert (model.model_id, model.family, model.context_length) == ("llama3:8b", "llama", 8192)
        assert model.capabilities == {Capability.COMPLETION, Capability.TOOLS}
        assert model.native.keys() == {"name", "model", "details", "capabilities"}

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b'{"models":5}',
            b'{"models":true}',
            pytest.param(b'{"models":' + DEEP + b"}", id="nested"),
        ],
    )
    async def test_an_unreadable_list_is_an_error_of_the_upstream(self, body: bytes) -> None:
        with pytest.raises(ProviderProtocolError):
            await provider_of(MockUpstream(Answer(body))).list_models()

    @pytest.mark.parametrize(
        "entry",
        [
            '{"name":"m","capabilities":[["a"]]}',
            '{"name":"m","capabilities":[{}]}',
            '{"name":"m","details":5}',
            '{"name":"m","details":{"context_length":"x"}}',
        ],
    )
    async def test_an_odd_entry_does_not_hide_the_others(self, entry: str) -> None:
        up = MockUpstream(Answer(f'{{"models":[{entry},5,{{"name":7}},{{"name":"good"}}]}}'.encode()))
        assert [model.model_id for model in await provider_of(up).list_models()][-1] == "good"

    async def test_show_is_asked_by_post_and_cleaned_of_nulls(self) -> None:
        up = MockUpstream(Answer(b'{"a":null,"b":{"c":null,"d":[{"e":null}]}}'))
        assert await provider_of(up).show("m", verbose=True) == {"b": {"d": [{}]}}
        assert (up.asked[0].path, up.asked[0].body) == ("/api/show", {"model": "m", "verbose": True})

    async def test_show_of_a_model_that_is_gone_is_not_found(self) -> None:
        with pytest.raises(ModelNotFound):
            await provider_of(MockUpstream(Answer(b'{"error":"model \'m\' not found"}', 404))).show("m", verbose=False)

    @pytest.mark.parametrize("body", [b"", b"[]", b"5", b"\xff", pytest.param(b'{"x":' + DEEP + b"}", id="nested")])
    async def test_an_unreadable_description_is_an_error_of_the_upstream(self, body: bytes) -> None:
        with pytest.raises(ProviderProtocolError):
            await provider_of(MockUpstream(Answer(body))).show("m", verbose=False)

    @pytest.mark.parametrize(
        ("body", "count"),
        [(b"{}", 0), (b'{"models":null}', 0), (b'{"models":5}', 0), (b'{"models":[{"name":"a"},5]}', 1)],
    )
    async def test_running_models_are_listed_as_far_as_they_can_be_read(self, body: bytes, count: int) -> None:
        assert len(await provider_of(MockUpstream(Answer(body))).running()) == count


class TestPull:
    """Progress as it comes; the end must be one."""

    async def test_each_line_is_a_step_and_nothing_insecure_is_asked(self) -> None:
        up = lines(b'{"status":"pulling manifest"}\n{"status":"pulling', b' x","total":5}\n', b'{"status":"success"}\n')
        steps = [step async for step in provider_of(up).pull("llama3")]
        assert [step["status"] for step in steps] == ["pulling manifest", "pulling x", "success"]
        assert up.asked[0].body == {"model": "llama3", "stream": True}
        assert up.bodies[0].closes == 1

    async def test_an_error_line_ends_it_in_the_machines_words_without_secrets(self) -> None:
        up = lines(b'{"status":"pulling manifest"}\n', b'{"error":"pull failed, key sk-AbCdEf0123456"}\n')
        steps, error = await until_error(provider_of(up).pull("llama3"), PullFailed)
        assert len(steps) == 1
        assert "pull failed" in error.message
        assert "sk-AbCdEf" not in error.message

    async def test_the_last_line_counts_without_its_line_end(self) -> None:
        steps = [step async for step in provider_of(lines(b'{"status":"success"}')).pull("llama3")]
        assert steps == [{"status": "success"}]

    async def test_an_error_without_its_line_end_is_not_lost(self) -> None:
        with pytest.raises(PullFailed):
            _ = [step async for step in provider_of(lines(b'{"status":"a"}\n{"error":"no space"}')).pull("llama3")]

    async def test_a_download_that_ends_without_success_failed(self) -> None:
        with pytest.raises(ProviderError):
            _ = [step async for step in provider_of(lines(b'{"status":"pulling manifest"}\n')).pull("llama3")]

    async def test_blank_lines_are_passed_over(self) -> None:
        steps = [step async for step in provider_of(lines(b'\n{"status":"success"}\n\n')).pull("llama3")]
        assert steps == [{"status": "success"}]
