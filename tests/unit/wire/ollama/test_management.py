"""What is sent to a machine is written anew from checked fields."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import InvalidRequest
from backend.wire.ollama.management import CreateBody, PushBody, check_create, write_create
from backend.wire.ollama.schemas import read_body

DIGEST = "sha256:" + "ab" * 32
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read(**fields: Any) -> CreateBody:
    body = read_body(json.dumps(fields).encode(), CreateBody)
    check_create(body)
    return body


def written(**fields: Any) -> dict[str, Any]:
    return write_create(read(**fields), "new:latest", None)


def test_a_model_of_another_model_is_written_with_what_was_set() -> None:
    body = read(
        model="New",
        name="",
        **{"from": "LLAMA3"},
        system="Be kind.",
        template="{{ .Prompt }}",
        license=["MIT"],
        parameters={"temperature": 0.5, "stop": ["a", "b"], "num_ctx": 4096, "use_mmap": True, "seed": None},
        messages=[{"role": "user", "content": "hi", "extra": 1}, {"role": "assistant", "content": "hello"}],
        renderer="r",
        parser="p",
        requires="0.14.0",
        quantize="q4_K_M",
        stream=False,
        insecure=True,
        username="u",
        password="p",  # noqa: S106
        unknown={"a": 1},
    )
    assert write_create(body, "new:latest", "llama3:8b") == {
        "model": "new:latest",
        "from": "llama3:8b",
        "system": "Be kind.",
        "template": "{{ .Prompt }}",
        "license": ["MIT"],
        "parameters": {"temperature": 0.5, "stop": ["a", "b"], "num_ctx": 4096, "use_mmap": True},
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
        "renderer": "r",
        "parser": "p",
        "requires": "0.14.0",
        "quantize": "q4_K_M",
    }


def test_a_model_of_files_is_written_with_digests_in_one_spelling() -> None:
    files = {"model.gguf": "sha256-" + "AB" * 32, "sub/tokenizer.json": DIGEST}
    assert written(files=files, adapters={"a.gguf": DIGEST}, draft_files={"d.gguf": DIGEST}, draft_quantize="q8_0") == {
        "model": "new:latest",
        "files": dict.fromkeys(files, DIGEST),
        "adapters": {"a.gguf": DIGEST},
        "draft_files": {"d.gguf": DIGEST},
        "draft_quantize": "q8_0",
    }


@pytest.mark.parametrize(("given_as", "text"), [("license", "MIT"), ("license", ["MIT"])])
def test_a_license_may_be_one_text(given_as: str, text: Any) -> None:
    assert written(**{given_as: text})["license"] == ["MIT"]


def test_the_older_word_for_quantize_is_understood() -> None:
    assert written(quantization="q8_0")["quantize"] == "q8_0"


def test_only_what_ollama_knows_about_a_model_is_sent() -> None:
    info = {"context_length": 5, "capabilities": ["tools"], "model_family": "x", "path": "/etc", "host": "evil.test"}
    assert written(info=info)["info"] == {"context_length": 5, "capabilities": ["tools"], "model_family": "x"}


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../x",
        "a//b",
        "a/",
        "./a",
        ".",
        "..",
        "a\\..\\b",
        "C:x",
        "c:/x",
        "a\0b",
        "a\nb",
        "x" * 1025,
    ],
)
@pytest.mark.parametrize("field", ["files", "adapters", "draft_files"])
def test_a_path_that_could_leave_its_folder_is_refused(field: str, path: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^file path must be relative$"):
        read(**{field: {path: DIGEST}})


@pytest.mark.parametrize(
    "digest", ["", "sha256:abc", DIGEST + "0", "../../x", "sha512:" + "ab" * 32, 5, None, [DIGEST], {}]
)
def test_what_is_not_a_digest_is_refused(digest: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^invalid digest format$"):
        read(files={"a.gguf": digest})


def test_paths_are_looked_at_before_digests_and_both_before_anything_else() -> None:
    with pytest.raises(InvalidRequest, match=r"^file path must be relative$"):
        read(files={"/a": "x"}, draft_quantize="q8_0")
    with pytest.raises(InvalidRequest, match=r"^invalid digest format$"):
        read(files={"a": "x"}, draft_quantize="q8_0")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"files": ["a"]}, "files must be an object"),
        ({"files": {f"f{i}": DIGEST for i in range(1_001)}}, "files must be an object"),
        ({"draft_quantize": "q8_0"}, "--draft-quantize requires a DRAFT model"),
        ({"remote_host": "https://evil.test"}, "remote_host is not supported"),
        ({"license": 5}, "license must be"),
        ({"license": ["a", 5]}, "license must be"),
        ({"parameters": [1]}, "parameters must be"),
        ({"parameters": {f"p{i}": 1 for i in range(257)}}, "parameters must be"),
        ({"parameters": {"stop": {"a": 1}}}, "parameter 'stop' must be"),
        ({"parameters": {"stop": [1]}}, "parameter 'stop' must be"),
        ({"info": [1]}, "info must be"),
        ({"info": {"capabilities": {"a": 1}}}, "info field 'capabilities' must be"),
        ({"from": 5}, r"cannot unmarshal number into Go struct field CreateRequest\.from of type string"),
        ({"messages": "x"}, "of type \\[\\]api.Message"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        read(**fields)


@given(st.dictionaries(st.sampled_from([*CreateBody.model_fields, "from", "insecure", "FROM", "x"]), JSON))
def test_whatever_comes_is_either_refused_or_written_from_known_fields(fields: dict[str, Any]) -> None:
    raw = json.dumps(fields).encode()
    try:
        body = read_body(raw, CreateBody)
        check_create(body)
    except InvalidRequest:
        return
    sent = write_create(body, "new:latest", "base:latest")
    assert sent.keys() <= {*CreateBody.model_fields, "from"} - {"name", "base", "remote_host", "quantization", "stream"}
    assert (sent["model"], sent["from"]) == ("new:latest", "base:latest")


def test_a_push_never_reads_credentials() -> None:
    body = read_body(b'{"model":"a","insecure":true,"username":"u","password":"p"}', PushBody)
    assert body.model_dump() == {"model": "a", "name": "", "stream": True}
