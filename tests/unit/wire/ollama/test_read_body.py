"""Bodies are read the way Go reads them, and what cannot be read is told in Ollama's words."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import InvalidRequest
from backend.wire.body import read_json
from backend.wire.ollama.schemas import (
    ChatBody,
    EmbedBody,
    GenerateBody,
    OllamaModel,
    PullBody,
    ShowBody,
    read_body,
)

EXPECTED = "json: cannot unmarshal "
FIELD = " into Go struct field ChatRequest."


def refusal(raw: bytes, schema: type[OllamaModel] = ChatBody) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read_body(raw, schema)
    assert caught.value.status == 400
    return caught.value.message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "missing request body"),
        (b" \r\n\t", "missing request body"),
        (b"\xef\xbb\xbf ", "missing request body"),
        (b'{"model":"m"', "unexpected EOF"),
        (b'{"model":"m', "unexpected EOF"),
        (b'{"model":', "unexpected EOF"),
        (b"{", "unexpected EOF"),
        (b"{bad", "invalid character 'b' looking for beginning of object key string"),
        (b'{"a":b}', "invalid character 'b' looking for beginning of value"),
        (b"<xml>", "invalid character '<' looking for beginning of value"),
        (b"[]", EXPECTED + "array into Go value of type api.ChatRequest"),
        (b'"x"', EXPECTED + "string into Go value of type api.ChatRequest"),
        (b"5", EXPECTED + "number into Go value of type api.ChatRequest"),
        (b"true", EXPECTED + "bool into Go value of type api.ChatRequest"),
        (b'{"model":5}', EXPECTED + "number" + FIELD + "model of type string"),
        (b'{"messages":{}}', EXPECTED + "object" + FIELD + "messages of type []api.Message"),
        (b'{"messages":[{"content":[]}]}', EXPECTED + "array" + FIELD + "messages.content of type string"),
        (b'{"stream":"x"}', EXPECTED + "string" + FIELD + "stream of type bool"),
        (b'{"stream":1}', EXPECTED + "number" + FIELD + "stream of type bool"),
        (b'{"options":[]}', EXPECTED + "array" + FIELD + "options of type map[string]interface {}"),
        (b'{"tools":{}}', EXPECTED + "object" + FIELD + "tools of type api.Tools"),
        (b'{"top_logprobs":"3"}', EXPECTED + "string" + FIELD + "top_logprobs of type int"),
        (
            b'{"messages":[{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}]}',
            "Value looks like object, but can't find closing '}' symbol",
        ),
        (b'{"think":"ultra"}', 'invalid think value: "ultra" (must be "high", "medium", "low", "max", true, or false)'),
        (b'{"think":"High"}', 'invalid think value: "High" (must be "high", "medium", "low", "max", true, or false)'),
        (b'{"think":1}', 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'),
        (b'{"think":{}}', 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'),
        (b'{"keep_alive":true}', "Unsupported type: 'bool'"),
        (b'{"keep_alive":"5"}', 'time: missing unit in duration "5"'),
        (b'{"keep_alive":"-1"}', 'time: missing unit in duration "-1"'),
        (b'{"keep_alive":"soon"}', 'time: invalid duration "soon"'),
        (b'{"keep_alive":""}', 'time: invalid duration ""'),
        (b'{"format":"yaml"}', 'invalid format: "\\"yaml\\""; expected "json" or a valid JSON Schema object'),
        (b'{"format":5}', 'invalid format: "5"; expected "json" or a valid JSON Schema object'),
        (b'{"format":[]}', 'invalid format: "[]"; expected "json" or a valid JSON Schema object'),
        (b'{"a":NaN}', "the JSON holds a number that cannot be read"),
        (b'{"a":' + b"9" * 5_000 + b"}", "the JSON holds a number that cannot be read"),
        (b'{"a":' + b"[" * 99_999, "the JSON is nested too deeply"),
        (b'{"keep_alive":{"a":1}}', "Unsupported type: 'map[string]interface {}'"),
        (b'{"keep_alive":[1]}', "Unsupported type: '[]interface {}'"),
        (b'{"keep_alive":1e11}', 'keep_alive is out of range; use seconds, or a duration such as "5m"'),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_cannot_be_read_is_refused_in_ollamas_words(raw: bytes, message: str) -> None:
    assert refusal(raw) == message


@pytest.mark.parametrize("value", ["1e11", "-1e300", '"99999999999h"', '"-99999999999h"', '"' + "9" * 400 + 's"'])
def test_a_keep_alive_of_more_than_a_lifetime_of_servers_is_refused(value: str) -> None:
    assert refusal(b'{"keep_alive":%s}' % value.encode())


@pytest.mark.parametrize(
    ("schema", "name"), [(GenerateBody, "GenerateRequest"), (EmbedBody, "EmbedRequest"), (ShowBody, "ShowRequest")]
)
def test_a_refusal_names_the_request(schema: type[OllamaModel], name: str) -> None:
    assert (
        refusal(b'{"model":[]}', schema)
        == f"json: cannot unmarshal array into Go struct field {name}.model of type string"
    )


@pytest.mark.parametrize(
    ("raw", "model"),
    [
        (b'{"model":"m"}', "m"),
        (b'{"MODEL":"m"}', "m"),
        (b'{"model":"a","Model":"m"}', "m"),
        (b'{"model":"m","model":null}', ""),
        (b'{"model":"m","Model":null}', "m"),
        (b'{"model":null}', ""),
        (b"null", ""),
        (b"{}", ""),
        (b'{"model":"m"} trailing', "m"),
        (b'{"model":"m"}{"model":"x"}', "m"),
        (b'\xef\xbb\xbf {"model":"m"}', "m"),
        (b'{"model":"m","unknown":{"a":[1]}}', "m"),
        (b'{"model":"\\ud800"}', "\ufffd"),
        (b'{"model":"\\uD83D\\uDE00"}', "\U0001f600"),
        (b'{"model":"\xff"}', "\ufffd"),
        (b'{"model":"m","messages":null,"options":null,"tools":null,"format":"","keep_alive":null,"stream":null}', "m"),
    ],
)
def test_a_body_is_read_as_go_reads_it(raw: bytes, model: str) -> None:
    body = read_body(raw, ChatBody)
    assert body.model == model
    assert body.stream is True


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("0", 0.0),
        ("-1", -1.0),
        ("1.5", 1.5),
        ('"5m"', 300.0),
        ('"5m0s"', 300.0),
        ('"1h30m"', 5400.0),
        ('"300ms"', 0.3),
        ('"0"', 0.0),
        ('"0s"', 0.0),
        ('"-1s"', -1.0),
        ('"-1m"', -60.0),
        ('"+2s"', 2.0),
        ('".5h"', 1800.0),
        ('"1us"', 1e-6),
        ('"24h"', 86_400.0),
        ("null", None),
    ],
)
def test_keep_alive_is_seconds_or_a_duration(value: str, seconds: float | None) -> None:
    found = read_body(b'{"keep_alive":%s}' % value.encode(), ChatBody).keep_alive
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("value", [True, False, "low", "medium", "high", "max", None])
def test_think_takes_its_levels(value: Any) -> None:
    assert read_body(json.dumps({"think": value}).encode(), ChatBody).think == value


@pytest.mark.parametrize(
    ("value", "found"), [("json", "json"), ("", None), (None, None), ({"type": "object"}, {"type": "object"})]
)
def test_format_is_json_a_schema_or_nothing(value: Any, found: Any) -> None:
    assert read_body(json.dumps({"format": value}).encode(), ChatBody).format == found


@pytest.mark.parametrize(
    ("raw", "wanted"), [(b'{"model":"a","name":"b"}', "a"), (b'{"name":"b"}', "b"), (b'{"Name":"b"}', "b"), (b"{}", "")]
)
def test_older_clients_say_name(raw: bytes, wanted: str) -> None:
    assert read_body(raw, ShowBody).wanted == wanted
    assert read_body(raw, PullBody).wanted == wanted


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,0au\\ \n', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for read in (read_json, lambda raw: read_body(raw, ChatBody)):
        with contextlib.suppress(InvalidRequest):
            read(raw)


@pytest.mark.parametrize("depth", [101, 480, 900])
def test_nesting_that_later_code_could_not_bear_is_refused(depth: int) -> None:
    raw = b'{"model":"m","format":' + b'{"a":' * depth + b'"\\ud800"' + b"}" * depth + b"}"
    assert refusal(raw) == "the JSON is nested too deeply"


def test_a_turn_with_more_calls_than_any_model_makes_is_refused_at_once() -> None:
    calls = [{"function": {"name": "f", "arguments": {}}}] * 2_000
    raw = json.dumps({"model": "m", "messages": [{"role": "assistant", "tool_calls": calls}]}).encode()
    assert "tool calls at most" in refusal(raw)
