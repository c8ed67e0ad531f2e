"""What can be listened to has a name, which no other has."""

import uuid

import pytest

from backend.features.live.events import KINDS, Topic

SOME = uuid.UUID(int=2**100)


def test_a_topic_is_found_by_its_name() -> None:
    topics = [Topic(kind, SOME) for kind in KINDS]
    assert topics == [Topic.chat(SOME), Topic.document(SOME), Topic.collection(SOME)]
    assert [Topic.parse(str(topic)) for topic in topics] == topics
    assert [topic.field for topic in topics] == ["chat_id", "document_id", "collection_id"]
    assert len({*topics, *topics}) == len(KINDS)


@pytest.mark.parametrize(
    "name",
    ["", "chat", "chat:", "orders", str(SOME), f"agent:{SOME}", f"chat:{SOME}x", f":{SOME}", "collection:\ufffd"],
)
def test_other_names_are_no_topics(name: str) -> None:
    assert Topic.parse(name) is None
