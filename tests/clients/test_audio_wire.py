"""`POST /v1/audio/transcriptions` as the official OpenAI SDK and plain HTTP clients meet it."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from backend.wire.multipart import read_form
from tests.clients.scripts import TRANSCRIPTIONS, mistral_error, mistral_models, transcription
from tests.clients.served import CLIENT_SECONDS, Served
from tests.clients.test_responses_wire import client_of
from tests.fakes.scripted_upstream import Request, ScriptedUpstream, json_reply
from tests.fixtures.gateway import run_gateway

VOXTRAL = "voxtral-mini-latest"
PATH = "/v1/audio/transcriptions"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\r\n--\xff"


@pytest.fixture
def sdk(mistral: Served) -> Iterator[openai.OpenAI]:
    mistral.upstream.script(TRANSCRIPTIONS, [transcription("Salut à tous.", (0.0, 1.5, "Salut à tous."))])
    with client_of(mistral) as one:
        yield one


def post(served: Served, **form: Any) -> httpx.Response:
    return httpx.post(f"{served.url}{PATH}", timeout=CLIENT_SECONDS, **form)


def parts_of(request: Request) -> dict[str, bytes]:
    return {part.name: part.data for part in read_form(request.headers["content-type"], request.raw)}


def test_speech_becomes_text(mistral: Served, sdk: openai.OpenAI) -> None:
    reply = sdk.audio.transcriptions.create(model=VOXTRAL, file=('Ünïcode "x".wav', WAV), language="fr", temperature=0)
    assert reply.text == "Salut à tous."
    request = mistral.upstream.calls(TRANSCRIPTIONS)[0]
    assert request.headers["authorization"] == "Bearer test-key"
    assert parts_of(request) == {"model": VOXTRAL.encode(), "language": b"fr", "temperature": b"0", "file": WAV}
    assert b'name="file"; filename="audio.wav"\r\nContent-Type: audio/wav' in request.raw


def test_plain_text_is_plain(mistral: Served, sdk: openai.OpenAI) -> None:
    reply: Any = sdk.audio.transcriptions.create(model=VOXTRAL, file=("a.wav", WAV), response_format="text")
    assert reply == "Salut à tous."
    raw = post(mistral, data={"model": VOXTRAL, "response_format": "text"}, files={"file": ("a.wav", WAV)})
    assert raw.headers["content-type"] == "text/plain; charset=utf-8"
    assert raw.text == "Salut à tous."


def test_times_are_told_where_they_are_wanted(mistral: Served, sdk: openai.OpenAI) -> None:
    reply = sdk.audio.transcriptions.create(
        model=VOXTRAL, file=("a.wav", WAV), response_format="verbose_json", timestamp_granularities=["segment"]
    )
    assert (reply.language, reply.duration, reply.text) == ("fr", 12, "Salut à tous.")
    assert reply.segments is not None
    assert [(part.id, part.start, part.end, part.text) for part in reply.segments] == [(0, 0.0, 1.5, "Salut à tous.")]
    assert parts_of(mistral.upstream.calls(TRANSCRIPTIONS)[0])["timestamp_granularities"] == b"segment"


def test_a_compatible_server_is_asked_in_its_own_way(vllm: Served) -> None:
    vllm.upstream.script(TRANSCRIPTIONS, [json_reply({"text": "hi", "usage": {"type": "duration", "seconds": 2}})])
    with client_of(vllm) as sdk:
        assert sdk.audio.transcriptions.create(model="qwen3", file=("a.wav", WAV), prompt="Zoe").text == "hi"
    sent = parts_of(vllm.upstream.calls(TRANSCRIPTIONS)[0])
    assert sent == {"model": b"qwen3", "response_format": b"json", "prompt": b"Zoe", "file": WAV}


@pytest.mark.parametrize(
    ("data", "files", "words"),
    [
        ({}, {"file": ("a.wav", WAV)}, "model is required"),
        ({"model": VOXTRAL}, {"other": ("a.wav", WAV)}, "file is required: "),
        ({"model": VOXTRAL}, {"file": ("a.wav", b"")}, "audio file is empty"),
        (
            {"model": VOXTRAL, "response_format": "srt"},
            {"file": ("a.wav", WAV)},
            "response_format 'srt' is not supported",
        ),
        ({"model": VOXTRAL, "stream": "true"}, {"file": ("a.wav", WAV)}, "streamed transcriptions are not supported"),
        ({"model": "mistral-small-latest"}, {"file": ("a.wav", WAV)}, '"mistral-small-latest" does not support audio'),
    ],
)
def test_a_mistake_is_told_in_openais_shape(
    mistral: Served, data: dict[str, str], files: dict[str, Any], words: str
) -> None:
    reply = post(mistral, data=data, files=files)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith(words)
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert mistral.upstream.posts() == []


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"content-type": "application/json"}, b"{}"),
        ({"content-type": "multipart/form-data; boundary=B"}, b"--B\r\n"),
        ({"content-type": "multipart/form-data; boundary=B"}, b"garbage"),
        ({"content-type": "multipart/form-data; boundary=B"}, b"--B\r\n\r\n\r\n" * 50),
    ],
)
def test_what_is_no_whole_form_is_refused(mistral: Served, headers: dict[str, str], content: bytes) -> None:
    reply = post(mistral, headers=headers, content=content)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]


def test_an_ollama_machine_is_not_asked(ollama_server: Served) -> None:
    reply = post(ollama_server, data={"model": "llama3.2:1b"}, files={"file": ("a.wav", WAV)})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith("this backend cannot transcribe audio; choose a speech model")


def test_a_server_without_the_route_says_so(vllm: Served) -> None:
    reply = post(vllm, data={"model": "qwen3"}, files={"file": ("a.wav", WAV)})
    assert reply.status_code == 400
    assert "cannot transcribe audio with this model" in reply.json()["error"]["message"]


def test_a_rate_limit_is_passed_on(failing_mistral: Served) -> None:
    failing_mistral.upstream.script(TRANSCRIPTIONS, [mistral_error("429-rate-limited.json", **{"retry-after": "7"})])
    with client_of(failing_mistral) as sdk, pytest.raises(openai.RateLimitError):
        sdk.audio.transcriptions.create(model=VOXTRAL, file=("a.wav", WAV))


def test_size_and_key_are_checked_before_anything_is_parsed(tmp_path: Path) -> None:
    key = secrets.token_urlsafe(24)
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = mistral_models()
        env = {
            "MISTRAL_API_KEY": "test-key",
            "MISTRAL_BASE_URL": upstream.url,
            "GATEWAY_API_KEYS": key,
            "GATEWAY_LIMITS__AUDIO_BYTES": "1000",
        }
        with run_gateway(tmp_path, env) as gateway:
            served = Served(gateway, upstream)
            unknown = post(served, headers={"content-type": "multipart/form-data; boundary=B"}, content=b"garbage")
            assert unknown.status_code == 401
            assert unknown.json()["error"]["type"] == "authentication_error"
            auth = {"authorization": f"Bearer {key}"}
            for size in (1_001, 2_000_000):
                files = {"file": ("a.wav", b"x" * size)}
                large = post(served, headers=auth, data={"model": VOXTRAL}, files=files)
                assert large.status_code == 413
                assert large.json()["error"]["message"].endswith(("send a shorter one", "send less"))
            assert upstream.posts() == []
