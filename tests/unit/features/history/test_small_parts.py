"""The small parts of the history: titles, switches, words, memories, Markdown."""

import uuid
from datetime import UTC, datetime

import pytest

from backend.features.auth.principal import Principal
from backend.features.history.exporting import MarkdownWriter
from backend.features.history.models import Chat, StoredMessage
from backend.features.history.places import Recent
from backend.features.history.placing import title_of
from backend.features.history.search import fold, postgresql_query, sqlite_query, words_of
from backend.features.history.sending import replay
from backend.features.history.service import Piece
from backend.features.history.switches import Switches
from backend.features.history.turns import Turn
from backend.llm.names import parse_name
from backend.llm.presets import Preset

USER, KEY, AGENT = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)
NOW = datetime(2026, 11, 26, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("hello", "hello"),
        (" two\n lines ", "two lines"),
        ("x" * 81, "x" * 79 + "…"),
        ("", ""),
    ],
)
def test_a_chat_is_called_by_the_beginning_of_its_first_question(text: str, title: str) -> None:
    turns = [Turn("tool", "result", b""), Turn("user", text, b""), Turn("user", "later" if text else "", b"")]
    assert title_of(turns) == title


def test_a_key_or_agent_that_is_switched_off_is_known() -> None:
    switches = Switches()
    caller = Principal(f"key:{KEY}", user_id=USER)
    name = parse_name("ana/legal")
    assert name is not None
    preset = Preset(str(AGENT), name, name, NOW)
    assert not switches.is_off(caller, preset)
    switches.read([AGENT])
    assert switches.is_off(caller, preset)
    assert not switches.is_off(caller, None)
    switches.read([uuid.uuid4()])
    assert not switches.is_off(caller, preset)


def test_words_are_looked_for_without_what_queries_mean_by_themselves() -> None:
    assert words_of('a-b "c" OR d*') == ["a", "b", "c", "OR", "d"]
    assert sqlite_query(USER, "?!") is postgresql_query("?!") is None
    assert sqlite_query(USER, "Été") == f'owner : "{USER.hex}" AND body : "Été"*'
    assert postgresql_query("Été à") == "'ete' & 'a':*"
    assert fold("ÀÉÎõÜ ç ế ΆΩ") == "aeiou c e αω"
    assert len(words_of("a " * 500)) == 12


def test_a_memory_forgets_what_was_not_used_for_longest() -> None:
    recent = Recent[int](2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)
    recent.clear()
    assert recent.get("a") is None


def kept(number: int, role: str, content: str, parent: int | None, status: str = "complete") -> StoredMessage:
    parent_id = None if parent is None else uuid.UUID(int=parent)
    return StoredMessage(
        id=uuid.UUID(int=number),
        role=role,
        content=content,
        parent_id=parent_id,
        status=status,
        thinking="",
        tool_calls=[{"id": "c", "name": "f", "arguments": {}}] if content == "calls" else [],
    )


def test_a_chat_is_told_again_along_the_branch_of_its_last_answer() -> None:
    messages = [
        kept(1, "user", "one", None),
        kept(2, "assistant", "", 1, "error"),
        kept(3, "assistant", "calls", 1),
        kept(4, "tool", "result", 3),
        kept(5, "user", "other branch", 3),
        kept(6, "assistant", "", 4, "interrupted"),
        kept(7, "user", "next", 6),
        kept(8, "assistant", "end", 7),
    ]
    chat = Chat(last_answer_id=uuid.UUID(int=8))
    told = replay(chat, messages)
    assert [(m.role, m.text) for m in told] == [
        ("user", "one"),
        ("assistant", "calls"),
        ("tool", "result"),
        ("user", "next"),
        ("assistant", "end"),
    ]
    assert told[1].tool_calls[0].name == "f"
    assert replay(Chat(last_answer_id=None, last_turn_id=None), messages) == []


def test_markdown_is_for_people() -> None:
    chat = Chat(title="A\nchat", created_at=NOW, model="m")
    messages = [kept(1, "user", "hi", None), kept(2, "assistant", "calls", 1, "interrupted")]
    writer = MarkdownWriter()
    text = writer.write(Piece(chat, messages, is_last=True)).decode()
    pieces = Piece(chat, messages[:1], is_last=False), Piece(chat, messages[1:], is_last=True)
    assert b"".join(map(writer.write, pieces)).decode() == text
    assert text == (
        "# A chat\n\n2026-11-26 12:30 UTC, m\n\n## You\n\nhi\n\n## Answer (interrupted)\n\ncalls\n\nCalls `f`\n"
    )
