"""Each sampling option arrives at each kind of upstream under its name, in its range, or not at all."""

from collections.abc import Mapping
from typing import Any

import pytest

from backend.llm.types import ChatRequest, CompletionRequest, Message, Sampling, TextPart
from backend.wire.mistral import request as mistral
from backend.wire.mistral.messages import MessageStyle
from backend.wire.ollama.options import read_options
from backend.wire.openai import request as openai
from backend.wire.openai.options import Dialect
from backend.wire.openai.reasoning import ReasoningStyle

SERVERS = ("mistral", "mistral-plain", "vllm", "llamacpp", "lmstudio", "openai", "generic")
FRAME = frozenset({"model", "messages", "stream", "stream_options"})
Sent = Mapping[str, Any]


def send(
    server: str, options: Mapping[str, Any], style: ReasoningStyle = ReasoningStyle.NONE, model: str = "m"
) -> Sent:
    """Return what a request with these options of Ollama's says to a server beyond the conversation."""
    request = ChatRequest(model, (Message("user", (TextPart("hi"),)),), sampling=read_options(options))
    if server.startswith("mistral"):
        known = mistral.ModelStyle(MessageStyle(reasons=False), extended=server == "mistral")
        body = mistral.write_chat(request, known)
    else:
        body = openai.write_chat(request, Dialect(server), style)
    return {name: value for name, value in body.items() if name not in FRAME}


def row(options: Sent, default: Sent | None = None, **named: Sent) -> list[Any]:
    """One row of the table: what every server gets, except those that are named."""
    plain = named.get("mistral", default or {})
    named = {"mistral": plain, "mistral_plain": plain, **named}
    return [
        pytest.param(server, options, named.get(server.replace("-", "_"), default or {}), id=f"{options}-{server}")
        for server in SERVERS
    ]


def everywhere(name: str, value: Any) -> Sent:
    return {name: value}


LENGTH = {"max_tokens": 77}
NEW_LENGTH = {"max_completion_tokens": 77}
STOPS = ["a", "b", "c", "d", "e"]
ROWS: list[Any] = [
    *row({"num_predict": 77}, LENGTH, vllm=NEW_LENGTH, openai=NEW_LENGTH),
    *(case for value in (-1, -2, 0) for case in row({"num_predict": value})),
    *row({}),
    *row({"temperature": 0.7}, everywhere("temperature", 0.7)),
    *row({"temperature": 0}, everywhere("temperature", 0.0)),
    *row({"temperature": 1.9}, everywhere("temperature", 1.9), mistral=everywhere("temperature", 1.5)),
    *row(
        {"temperature": 3},
        everywhere("temperature", 2.0),
        mistral=everywhere("temperature", 1.5),
        llamacpp=everywhere("temperature", 3.0),
    ),
    *row({"temperature": -1}, everywhere("temperature", 0.0), llamacpp=everywhere("temperature", -1.0)),
    *row({"top_p": 0.5}, everywhere("top_p", 0.5)),
    *row({"top_p": 0}, everywhere("top_p", 0.0001), llamacpp=everywhere("top_p", 0.0)),
    *row({"top_p": 1.5}, everywhere("top_p", 1.0), llamacpp=everywhere("top_p", 1.5)),
    *row(
        {"top_k": 40},
        everywhere("top_k", 40),
        mistral_plain={},
        openai={},
        generic={},
    ),
    *row(
        {"min_p": 0.1},
        vllm=everywhere("min_p", 0.1),
        llamacpp=everywhere("min_p", 0.1),
    ),
    *row({"typical_p": 0.9}, llamacpp=everywhere("typical_p", 0.9)),
    *row(
        {"repeat_penalty": 1.2},
        mistral=everywhere("repetition_penalty", 1.2),
        mistral_plain={},
        vllm=everywhere("repetition_penalty", 1.2),
        llamacpp=everywhere("repeat_penalty", 1.2),
        lmstudio=everywhere("repeat_penalty", 1.2),
    ),
    *row({"repeat_last_n": 32}, llamacpp=everywhere("repeat_last_n", 32)),
    *(
        case
        for name in ("presence_penalty", "frequency_penalty")
        for case in (
            *row({name: 0.5}, everywhere(name, 0.5)),
            *row({name: 3}, everywhere(name, 2.0), llamacpp=everywhere(name, 3.0), lmstudio=everywhere(name, 3.0)),
            *row({name: -3}, everywhere(name, -2.0), llamacpp=everywhere(name, -3.0), lmstudio=everywhere(name, -3.0)),
        )
    ),
    *row({"seed": 5}, everywhere("seed", 5), mistral=everywhere("random_seed", 5)),
    *row({"seed": 0}, everywhere("seed", 0), mistral=everywhere("random_seed", 0)),
    *row({"seed": -1}),
    *row({"stop": ["a", "", "b"]}, everywhere("stop", ["a", "b"])),
    *row({"stop": STOPS}, everywhere("stop", STOPS), openai={"stop": STOPS[:4]}, generic={"stop": STOPS[:4]}),
    *row({"stop": [""]}),
    *row({"stop": []}),
    *row({"num_ctx": 8192}),
    *row({"mirostat": 2}, llamacpp=everywhere("mirostat", 2)),
    *row({"mirostat_tau": 5}, llamacpp=everywhere("mirostat_tau", 5.0)),
    *row({"mirostat_eta": 0.1}, llamacpp=everywhere("mirostat_eta", 0.1)),
    *row({"num_keep": 4}, llamacpp=everywhere("n_keep", 4)),
    *(
        case
        for name in ("num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict", "numa", "tfs_z")
        for case in row({name: 1})
    ),
    *row({"use_mmap": True}),
    *row({"temperature": None, "stop": None}),
]


@pytest.mark.parametrize(("server", "options", "sent"), ROWS)
def test_an_option_is_sent_as_the_upstream_takes_it(server: str, options: Sent, sent: Sent) -> None:
    assert send(server, options) == sent


@pytest.mark.parametrize("server", ["vllm", "mistral"])
def test_a_penalty_of_one_is_never_sent(server: str) -> None:
    assert send(server, {"repeat_penalty": 1.0}) == {}


def test_a_penalty_for_vllm_is_positive() -> None:
    assert send("vllm", {"repeat_penalty": 0})["repetition_penalty"] > 0


@pytest.mark.parametrize("server", ["vllm", "llamacpp"])
def test_top_k_zero_stays_off(server: str) -> None:
    assert send(server, {"top_k": 0}).get("top_k", 0) in {0, -1}


def test_min_p_may_reach_lm_studio_under_its_name() -> None:
    assert send("lmstudio", {"min_p": 0.1}) in ({}, {"min_p": 0.1})


@pytest.mark.parametrize("option", ["temperature", "top_p", "presence_penalty", "frequency_penalty"])
def test_openai_reasoning_models_get_no_tuning(option: str) -> None:
    assert send("openai", {option: 0.5}, ReasoningStyle.EFFORT, "gpt-5.1") == {}


@pytest.mark.parametrize(
    ("model", "sent"), [("o3", {}), ("o4-mini-2025", {}), ("o1", {"stop": ["x"]}), ("gpt-5.1", {"stop": ["x"]})]
)
def test_stop_is_dropped_for_the_models_that_refuse_it(model: str, sent: Sent) -> None:
    assert send("openai", {"stop": ["x"]}, ReasoningStyle.EFFORT, model) == sent


@pytest.mark.parametrize("suffix", [None, "after"])
def test_a_plain_completion_always_names_its_length(suffix: str | None) -> None:
    unset = openai.write_completion(CompletionRequest("m", "p", suffix), None)
    assert unset["max_tokens"] > 16
    given = openai.write_completion(CompletionRequest("m", "p", suffix, Sampling(max_tokens=7, seed=1)), None)
    assert (given["max_tokens"], given["seed"]) == (7, 1)
    assert "max_completion_tokens" not in given


def test_a_mistral_gap_has_a_length_and_no_penalties() -> None:
    sampling = Sampling(temperature=2.0, seed=3, presence_penalty=1.0, stop=("x",), top_k=4)
    body = mistral.write_fim(CompletionRequest("codestral", "a", "b", sampling))
    assert 64 <= body.pop("max_tokens") <= 256
    assert body == {
        "model": "codestral",
        "prompt": "a",
        "suffix": "b",
        "stream": True,
        "temperature": 1.5,
        "random_seed": 3,
        "stop": ["x"],
    }


@pytest.mark.parametrize("field", ["top_k", "repetition_penalty", "logprobs", "top_logprobs"])
def test_an_extended_field_a_model_refused_is_not_sent_again(field: str) -> None:
    sampling = Sampling(top_k=4, repeat_penalty=1.2)
    request = ChatRequest("m", (Message("user"),), sampling=sampling, logprobs=True, top_logprobs=2)
    messages = MessageStyle(reasons=False)
    assert field in mistral.write_chat(request, mistral.ModelStyle(messages))
    assert field not in mistral.write_chat(request, mistral.ModelStyle(messages, refused=frozenset({field})))
    assert (
        not mistral.EXTENDED_FIELDS & mistral.write_chat(request, mistral.ModelStyle(messages, extended=False)).keys()
    )
