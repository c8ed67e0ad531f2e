"""Forms with files: read as they were written, in any shape, within limits."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import InvalidRequest
from backend.wire.multipart import MAX_FIELD_BYTES, MAX_PARTS, FormReader, Part, read_form, write_form

TYPE = "multipart/form-data; boundary=B"


def body_of(*parts: tuple[str, bytes]) -> bytes:
    pieces = [f"--B\r\n{head}\r\n\r\n".encode() + data + b"\r\n" for head, data in parts]
    return b"".join(pieces) + b"--B--\r\n"


def field(name: str, data: bytes) -> tuple[str, bytes]:
    return f'Content-Disposition: form-data; name="{name}"', data


def refusal(content_type: str, body: bytes) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read_form(content_type, body)
    return caught.value.message


def test_a_form_as_browsers_write_it_is_read() -> None:
    head = 'content-disposition: form-data; name="file"; filename="a b.mp3"\r\nContent-Type: audio/mpeg'
    body = body_of(field("model", b"m"), (head, b"\x00\r\n--C\r\n\xff"), field("model", "é".encode()))
    assert read_form('Multipart/Form-Data; charset=utf-8; boundary="B"', b"\r\n" + body + b"after") == [
        Part("model", None, b"m"),
        Part("file", "a b.mp3", b"\x00\r\n--C\r\n\xff"),
        Part("model", None, "é".encode()),
    ]


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"{TYPE}{'x' * 300}",
        "x" * 9_999,
    ],
)
def test_what_is_no_form_is_refused_with_what_to_send(content_type: str) -> None:
    assert refusal(content_type, body_of()) == "send the request as multipart/form-data with a boundary"


@pytest.mark.parametrize("body", [b"", b"--B\r\n", body_of(field("a", b"x"))[:-8], b"--B\r\nA: b\r\n\r\nx"])
def test_a_form_that_ends_early_is_refused(body: bytes) -> None:
    assert refusal(TYPE, body) == "the form ends early; send all of it"


@pytest.mark.parametrize(
    "body", [b"--B\r\nno colon\r\n\r\nx\r\n--B--", b"--Bx", b"--B\r\n" + b"h: v\r\n" * 9 + b"\r\nx\r\n--B--\r\n"]
)
def test_a_broken_form_is_refused(body: bytes) -> None:
    assert refusal(TYPE, body) == "the form cannot be read; send well-formed multipart/form-data"


def test_a_header_is_bounded() -> None:
    assert "cannot be read" in refusal(TYPE, body_of(("x: " + "y" * 5_000, b"")))


def test_the_number_of_parts_is_bounded() -> None:
    assert len(read_form(TYPE, body_of(*[field("a", b"")] * MAX_PARTS))) == MAX_PARTS
    assert f"{MAX_PARTS} parts at most" in refusal(TYPE, body_of(*[field("a", b"")] * (MAX_PARTS + 1)))


def test_a_field_is_bounded_and_a_file_is_not() -> None:
    big = b"x" * (MAX_FIELD_BYTES + 1)
    assert f"{MAX_FIELD_BYTES} bytes at most" in refusal(TYPE, body_of(field("a", big)))
    assert read_form(TYPE, body_of(('Content-Disposition: form-data; name="f"; filename=""', big)))[0].data == big


@given(
    st.lists(st.tuples(st.sampled_from(["model", "prompt"]), st.text()), max_size=5),
    st.binary() | st.sampled_from([b"\r\n--", b"--\r\n", b"\r", b"\n\r\n"]),
)
def test_what_is_written_reads_back(fields: list[tuple[str, str]], data: bytes) -> None:
    form = write_form(fields, "audio.wav", "audio/wav", data)
    expected = [Part(name, None, value.encode("utf-8", "replace")) for name, value in fields]
    assert read_form(form.content_type, form.data) == [*expected, Part("file", "audio.wav", data)]


def test_a_written_form_is_its_bytes() -> None:
    form = write_form([("model", "m"), ("prompt", "a\r\nb")], "audio.mp3", "audio/mpeg", b"\x00\x01")
    boundary = re.fullmatch(r"multipart/form-data; boundary=([0-9a-f]{32})", form.content_type)
    assert boundary is not None
    assert form.data.replace(boundary[1].encode(), b"B") == (
        b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
        b'--B\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na\r\nb\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="audio.mp3"\r\nContent-Type: audio/mpeg\r\n\r\n'
        b"\x00\x01\r\n--B--\r\n"
    )


def test_no_two_forms_share_a_boundary() -> None:
    assert len({write_form([], "a", "b/c", b"").content_type for _ in range(20)}) == 20


@given(st.binary(max_size=200), st.lists(st.sampled_from([b"--B", b"\r\n", b"--", b"\r\n--B", b"a: b", b"\x00"])))
def test_wild_bytes_are_read_or_refused_and_never_fail(tail: bytes, pieces: list[bytes]) -> None:
    for body in (b"--B\r\n" + tail, b"".join(pieces), body_of(field("a", tail))):
        with contextlib.suppress(InvalidRequest):
            assert len(read_form(TYPE, body)) <= MAX_PARTS


@given(st.text(max_size=60))
def test_a_wild_content_type_is_read_or_refused_and_never_fails(text: str) -> None:
    for content_type in (text, f"multipart/form-data; boundary={text}"):
        with contextlib.suppress(InvalidRequest):
            assert read_form(content_type.encode("latin-1", "replace").decode("latin-1"), b"--B--") == []


FILE = 'Content-Disposition: form-data; name="file"; filename="a.txt"'


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), min_size=1))
def test_a_file_is_handed_on_as_it_comes_whatever_the_pieces(data: bytes, sizes: list[int]) -> None:
    body = body_of(field("entity_id", b"7"), (FILE, data), field("more", b"x"))
    reader, taken, at, turn = FormReader(TYPE), b"", 0, 0
    while at < len(body):
        size = sizes[turn % len(sizes)]
        taken += reader.feed(body[at : at + size])
        at, turn = at + size, turn + 1
    reader.finish()
    assert (taken, reader.filename, reader.fields) == (data, "a.txt", {"entity_id": "7", "more": "x"})


def read_in_pieces(body: bytes) -> None:
    reader = FormReader(TYPE)
    reader.feed(body)
    reader.finish()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (body_of((FILE, b"x"), (FILE, b"y")), "one file"),
        (body_of((FILE.replace('"file"', '"other"'), b"x")), "one file"),
        (body_of((FILE, b"x"))[:-10], "ends early"),
        (b"nothing of the kind", "cannot be read"),
        (body_of(field("a", b"x" * (MAX_FIELD_BYTES + 1))), "bytes at most"),
    ],
)
def test_a_form_that_is_not_one_file_is_refused(body: bytes, told: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_in_pieces(body)
    assert told in caught.value.message
