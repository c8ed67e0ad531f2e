"""The transcription form, what is asked of an upstream for it, and the replies."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import InvalidRequest, PayloadTooLarge
from backend.llm.errors import ProviderProtocolError
from backend.llm.types import Segment, Transcription, TranscriptionRequest
from backend.wire.audio.inbound import Wanted
from backend.wire.audio.inbound import read_transcription as read_form_parts
from backend.wire.audio.replies import write_transcription
from backend.wire.audio.upstream import read_transcription, write_mistral, write_openai
from backend.wire.multipart import Form, Part, read_form

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
FILE = Part("file", "speech.wav", WAV)
MODEL = Part("model", None, b"voxtral")
REQUEST = TranscriptionRequest("m", WAV, "audio.wav", "audio/wav")
LIMIT = 100


def parts(*, file: Part | None = FILE, **fields: str) -> list[Part]:
    named = [Part(name, None, value.encode()) for name, value in {"model": "voxtral", **fields}.items()]
    return [*named, *([file] if file else [])]


def read(**fields: str) -> Wanted:
    return read_form_parts(parts(**fields), LIMIT)


def test_the_least_form_is_read() -> None:
    assert read() == Wanted(TranscriptionRequest("voxtral", WAV, "audio.wav", "audio/wav"), "json")


def test_a_whole_form_is_read() -> None:
    wanted = read(
        language="FR",
        prompt="Zoë",
        temperature="0.5",
        response_format="verbose_json",
        **{"timestamp_granularities[]": "segment"},
    )
    assert wanted.response_format == "verbose_json"
    assert wanted.request == TranscriptionRequest(
        "voxtral", WAV, "audio.wav", "audio/wav", "fr", "Zoë", 0.5, with_segments=True
    )


def test_the_first_of_two_fields_counts() -> None:
    assert read_form_parts([MODEL, Part("model", None, b"other"), FILE], LIMIT).request.model == "voxtral"


@pytest.mark.parametrize(
    ("given_parts", "words"),
    [
        ([FILE], "model is required"),
        ([Part("model", None, b" "), FILE], "model is required"),
        ([MODEL], "file is required: send the audio as the file 'file' of the form"),
        ([MODEL, Part("file", None, WAV)], "file is required: "),
        ([MODEL, Part("file", "a.wav", b"")], "audio file is empty"),
        (parts(response_format="srt"), "response_format 'srt' is not supported; use json, text or verbose_json"),
        (parts(stream="true"), "streamed transcriptions are not supported; leave stream out"),
        (parts(language="english"), 'language must be a code such as "en"'),
        (parts(language="e\r\n"), "language must be"),
        (parts(temperature="hot"), "temperature must be a number from 0 to 2"),
        (parts(temperature="nan"), "temperature must be a number from 0 to 2"),
        (parts(temperature="3"), "temperature must be a number from 0 to 2"),
        (
            parts(**{"timestamp_granularities[]": "word"}, response_format="verbose_json"),
            "only timestamp_granularities",
        ),
        (parts(**{"timestamp_granularities[]": "segment"}), "timestamp_granularities need the response_format"),
    ],
)
def test_each_refusal_says_what_to_send(given_parts: list[Part], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_form_parts(given_parts, LIMIT)
    assert caught.value.message.startswith(words)


def test_a_file_over_the_limit_is_too_large() -> None:
    with pytest.raises(PayloadTooLarge, match="over 100 bytes"):
        read_form_parts([MODEL, Part("file", "a.wav", b"x" * 101)], LIMIT)


@pytest.mark.parametrize(
    ("filename", "data", "kind"),
    [
        ("x.mp3", WAV, ("audio.wav", "audio/wav")),
        ("x", b"ID3\x04", ("audio.mp3", "audio/mpeg")),
        ("x", b"\xff\xfb\x90\x00", ("audio.mp3", "audio/mpeg")),
        ("x", b"fLaC\x00", ("audio.flac", "audio/flac")),
        ("x", b"OggS\x00", ("audio.ogg", "audio/ogg")),
        ("x", b"\x1aE\xdf\xa3", ("audio.webm", "audio/webm")),
        ("x", b"\x00\x00\x00\x20ftypM4A ", ("audio.m4a", "audio/mp4")),
        ("SPEECH.M4A", b"?", ("audio.m4a", "audio/mp4")),
        ("mp3", b"?", ("audio.mp3", "audio/mpeg")),
        ('a".mp3\r\nX-Evil: 1', b"?", ("audio", "application/octet-stream")),
        ("../../etc/passwd", b"\xff", ("audio", "application/octet-stream")),
    ],
)
def test_an_upstream_hears_of_a_filename_and_a_type_of_our_own(
    filename: str, data: bytes, kind: tuple[str, str]
) -> None:
    request = read_form_parts([MODEL, Part("file", filename, data)], LIMIT).request
    assert (request.filename, request.media_type) == kind


NAMES = st.sampled_from(["model", "file", "language", "temperature", "response_format", "stream", "prompt"])


@given(st.lists(st.builds(Part, NAMES, st.none() | st.text(max_size=9), st.binary(max_size=9)), max_size=6))
def test_a_wild_form_is_read_or_refused_and_never_fails(wild: list[Part]) -> None:
    with contextlib.suppress(InvalidRequest):
        assert read_form_parts(wild, LIMIT).request.filename.isascii()


# --- upstream


def fields_of(form: Form) -> dict[str, str]:
    return {part.name: part.data.decode("latin-1") for part in read_form(form.content_type, form.data)}


@pytest.mark.parametrize(
    ("asked", "mistral", "openai"),
    [
        ({}, {}, {"response_format": "json"}),
        (
            {"language": "fr", "prompt": "Zoë", "temperature": 0.5},
            {"language": "fr", "temperature": "0.5"},
            {"response_format": "json", "language": "fr", "prompt": "ZoÃ«", "temperature": "0.5"},
        ),
        (
            {"language": "fr", "with_segments": True},
            {"timestamp_granularities": "segment"},
            {"response_format": "verbose_json", "language": "fr", "timestamp_granularities[]": "segment"},
        ),
    ],
)
def test_each_upstream_gets_the_fields_it_takes(
    asked: dict[str, Any], mistral: dict[str, str], openai: dict[str, str]
) -> None:
    request = TranscriptionRequest("m", WAV, "audio.wav", "audio/wav", **asked)
    always = {"model": "m", "file": WAV.decode("latin-1")}
    assert fields_of(write_mistral(request)) == {**always, **mistral}
    assert fields_of(write_openai(request)) == {**always, **openai}


@pytest.mark.parametrize(
    ("reply", "heard"),
    [
        ({"text": "hi"}, Transcription("hi")),
        (
            {
                "model": "voxtral-mini-2507",
                "text": "Salut.",
                "language": "fr",
                "segments": [
                    {"type": "transcription_segment", "text": "Salut.", "start": 0, "end": 1.5, "score": None}
                ],
                "usage": {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 30, "prompt_audio_seconds": 2},
            },
            Transcription("Salut.", "fr", 2.0, (Segment(0.0, 1.5, "Salut."),), 4, 6),
        ),
        (
            {"task": "transcribe", "text": "hi", "language": "english", "duration": "1.25", "segments": []},
            Transcription("hi", "english", 1.25),
        ),
        (
            {"text": "", "language": None, "segments": None, "duration": "long", "usage": {"type": "duration"}},
            Transcription(""),
        ),
        ({"text": "x", "duration": -1}, Transcription("x")),
        ({"text": "x", "duration": "nan"}, Transcription("x")),
    ],
)
def test_a_reply_is_read(reply: dict[str, Any], heard: Transcription) -> None:
    assert read_transcription(json.dumps(reply).encode(), "up") == heard


@pytest.mark.parametrize("body", [b"", b"plain", b"[]", b'{"text":null}', b'{"segments":[]}', b'{"text":"\xff"}'])
def test_an_unreadable_reply_is_the_backends_failure(body: bytes) -> None:
    with pytest.raises(ProviderProtocolError, match="'up' sent an unreadable transcription"):
        read_transcription(body, "up")


# --- replies

HEARD = Transcription("Salut à tous.", "fr", 2.5, (Segment(0.0, 1.0, "Salut"), Segment(1.0, 2.0, " à tous.")))


def test_a_reply_is_json_text_or_both_with_times() -> None:
    assert write_transcription(HEARD, "json") == '{"text":"Salut à tous."}'.encode()
    assert write_transcription(HEARD, "text") == "Salut à tous."
    assert (
        write_transcription(HEARD, "verbose_json")
        == (
            '{"task":"transcribe","language":"fr","duration":2.5,"text":"Salut à tous.","segments":['
            '{"id":0,"seek":0,"start":0.0,"end":1.0,"text":"Salut"},'
            '{"id":1,"seek":0,"start":1.0,"end":2.0,"text":" à tous."}]}'
        ).encode()
    )


@pytest.mark.parametrize(("segments", "duration"), [((Segment(0, 3.5, "x"),), 3.5), ((), 0.0)])
def test_an_unknown_duration_ends_with_the_last_part(segments: tuple[Segment, ...], duration: float) -> None:
    written = write_transcription(Transcription("x", segments=segments), "verbose_json")
    assert json.loads(written)["duration"] == duration
