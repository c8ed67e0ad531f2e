"""Model names follow Ollama's grammar, and whatever an upstream calls a model can be listed."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backend.llm.names import ModelName, listable_name, parse_name

LIBRARY = ("registry.ollama.ai", "library")


@pytest.mark.parametrize(
    ("text", "parts", "short"),
    [
        ("llama3.2", (*LIBRARY, "llama3.2", "latest"), "llama3.2:latest"),
        ("llama3.2:1b", (*LIBRARY, "llama3.2", "1b"), "llama3.2:1b"),
        ("Llama3.2:1B", (*LIBRARY, "Llama3.2", "1B"), "Llama3.2:1B"),
        ("ns/model:7b", (LIBRARY[0], "ns", "model", "7b"), "ns/model:7b"),
        ("library/model", (*LIBRARY, "model", "latest"), "model:latest"),
        ("hf.co/u/m:Q4_K_M", ("hf.co", "u", "m", "Q4_K_M"), "hf.co/u/m:Q4_K_M"),
        ("host:5000/ns/m", ("host:5000", "ns", "m", "latest"), "host:5000/ns/m:latest"),
        ("registry.ollama.ai/library/m:t", (*LIBRARY, "m", "t"), "m:t"),
        ("https://host/ns/m", ("host", "ns", "m", "latest"), "host/ns/m:latest"),
        ("meta-llama/Llama-3.1-8B-Instruct", (LIBRARY[0], "meta-llama", "Llama-3.1-8B-Instruct", "latest"), None),
        ("_a", (*LIBRARY, "_a", "latest"), "_a:latest"),
        ("a" * 80 + ":" + "b" * 80, (*LIBRARY, "a" * 80, "b" * 80), None),
    ],
)
def test_a_name_is_read_part_by_part(text: str, parts: tuple[str, ...], short: str | None) -> None:
    name = parse_name(text)
    assert name == ModelName(*parts)
    assert name.short == (short or name.short)
    assert name.full == "{}/{}/{}:{}".format(*parts)
    assert parse_name(name.short) == name or name.namespace == "library"
    assert parse_name(name.full) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a:",
        ":a",
        "/a",
        "a/",
        "a//b",
        "a/b/c/d",
        "-a",
        ".a",
        "a:-b",
        "a b",
        "a+b",
        "a@sha256:1",
        "é",
        "a\n",
        "a:b:c",
        "n.s/m",
        "http://a",
        "a" * 81,
        "m:" + "t" * 81,
        "n" * 81 + "/m",
        "h" * 351 + "/n/m",
        "x" * 601,
    ],
)
def test_what_does_not_fit_the_grammar_is_no_name(text: str) -> None:
    assert parse_name(text) is None


@pytest.mark.parametrize("other", ["M", "m:latest", "M:LATEST", "library/m", "Registry.Ollama.AI/Library/m:latest"])
def test_the_same_model_has_one_key(other: str) -> None:
    name, same = parse_name("m"), parse_name(other)
    assert name is not None
    assert same is not None
    assert name.key == same.key


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("m:cloud", True),
        ("m:LOCAL", True),
        ("m:7b-cloud", True),
        ("my-cloud", False),
        ("m:cloudy", False),
        ("cloud", False),
    ],
)
def test_a_tag_that_names_a_source_is_seen(text: str, answer: bool) -> None:
    name = parse_name(text)
    assert name is not None
    assert name.names_a_source is answer


@pytest.mark.parametrize(
    ("model_id", "short"),
    [
        ("mistral-large-latest", "mistral-large-latest:latest"),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B:latest"),
        ("qwen3:4b", "qwen3:4b"),
        ("gpt-oss:120b-cloud", "gpt-oss-120b-cloud:latest"),
        ("m:local", "m-local:latest"),
        ("a/b/c/d+e", "c/d-e:latest"),
        ("host.io/ns/m", "ns/m:latest"),
        ("my model@v1", "my-model-v1:latest"),
        ("n.s/m", "n-s/m:latest"),
        ("", "model:latest"),
        ("/", "model:latest"),
        ("///", "model:latest"),
        ("é", "model:latest"),
        ("../../etc/passwd", "etc/passwd:latest"),
        ("x" * 200, "x" * 80 + ":latest"),
    ],
)
def test_an_upstreams_id_is_listed_under_a_name_clients_can_send(model_id: str, short: str) -> None:
    assert listable_name(model_id).short == short


IDS = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="aZ0_.-:/@+ é", max_size=30),
    st.lists(
        st.sampled_from(["cloud", "local", ":", "/", "-", "7b", "library", "x" * 80, "registry.ollama.ai"]), max_size=8
    ).map("".join),
)


@given(IDS)
@example("x" * 80 + ":cloud")
@example("LIBRARY/m:Cloud")
def test_any_id_gets_a_name_that_can_be_sent_back(model_id: str) -> None:
    name = listable_name(model_id)
    read = parse_name(name.short)
    assert read is not None
    assert read.key == name.key
    assert not name.names_a_source
    assert name == listable_name(model_id)


@given(IDS)
def test_any_text_is_a_name_or_none(text: str) -> None:
    name = parse_name(text)
    assert name is None or parse_name(name.full) == name


def test_a_machines_names_keep_their_host() -> None:
    name = "hf.co/bartowski/Foo-GGUF:Q4_K_M"
    assert listable_name(name, is_native=True).short == name
    assert listable_name("a/b/c").short == "b/c:latest"
