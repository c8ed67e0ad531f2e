"""Request bodies are bounded in size and time, and their type is not asked."""

import pytest

from backend.core.errors import ClientGone, GatewayError, InvalidRequest, PayloadTooLarge
from backend.web.body import BodyLimits, RequestPieces, read_request_body
from tests.unit.web.scripted import LIMIT, Client

LIMITS = BodyLimits(LIMIT, 0.05, 1)


@pytest.mark.parametrize("chunks", [(), (b"{}",), (b"{", b"}"), (b"x" * LIMIT,), (b"x" * 50, b"", b"x" * 50)])
async def test_a_body_within_the_limits_is_returned_whole(chunks: tuple[bytes, ...]) -> None:
    assert await read_request_body(Client(*chunks).request(content_type="text/plain"), LIMITS) == b"".join(chunks)


async def test_a_declared_size_over_the_limit_is_refused_before_it_arrives() -> None:
    client = Client(more=True)
    with pytest.raises(PayloadTooLarge, match="100 bytes"):
        await read_request_body(client.request(content_length=str(LIMIT + 1)), LIMITS)


@pytest.mark.parametrize("headers", [{}, {"content_length": "5"}, {"content_length": "nonsense"}])
async def test_a_body_that_turns_out_too_large_is_refused(headers: dict[str, str]) -> None:
    client = Client(*[b"x" * 60] * 10)
    with pytest.raises(PayloadTooLarge):
        await read_request_body(client.request(**headers), LIMITS)


async def test_an_exact_size_is_fine() -> None:
    assert await read_request_body(Client(b"x" * LIMIT).request(content_length=str(LIMIT)), LIMITS) == b"x" * LIMIT


async def test_a_body_that_does_not_arrive_is_the_clients_mistake() -> None:
    with pytest.raises(InvalidRequest, match=r"did not arrive within 0\.05 s"):
        await read_request_body(Client(b"{", more=True).request(), LIMITS)


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "GZIP"])
async def test_a_compressed_body_is_refused_unread(encoding: str) -> None:
    with pytest.raises(InvalidRequest, match="compressed"):
        await read_request_body(Client(b"x").request(content_encoding=encoding), LIMITS)


@pytest.mark.parametrize("encoding", ["identity", "Identity"])
async def test_an_uncompressed_body_may_say_so(encoding: str) -> None:
    assert await read_request_body(Client(b"x").request(content_encoding=encoding), LIMITS) == b"x"


async def test_a_client_that_leaves_inside_its_body_is_gone() -> None:
    client = Client(b"{", more=True)
    client.leave()
    with pytest.raises(ClientGone):
        await read_request_body(client.request(), LIMITS)


@pytest.mark.parametrize(("kind", "status"), [(PayloadTooLarge, 413), (InvalidRequest, 400), (ClientGone, 499)])
def test_each_refusal_has_its_status(kind: type[GatewayError], status: int) -> None:
    assert kind.status == status


class TestPieces:
    """A body of any length, a piece at a time."""

    @pytest.mark.parametrize("chunks", [(), (b"",), (b"a", b"b"), (b"a", b"", b"b"), (b"x" * LIMIT,)])
    async def test_pieces_come_as_they_were_sent_and_none_is_empty(self, chunks: tuple[bytes, ...]) -> None:
        pieces = [piece async for piece in RequestPieces(Client(*chunks).request(), LIMIT)]
        assert pieces == [chunk for chunk in chunks if chunk]

    async def test_nothing_is_read_before_it_is_asked_for(self) -> None:
        client = Client(b"a", b"b", b"c")
        pieces = RequestPieces(client.request(), LIMIT)
        assert await anext(pieces) == b"a"
        assert (await client.receive())["body"] == b"b"

    async def test_a_declared_size_over_the_limit_is_refused_at_once(self) -> None:
        with pytest.raises(PayloadTooLarge, match="100 bytes"):
            RequestPieces(Client(more=True).request(content_length=str(LIMIT + 1)), LIMIT)

    async def test_what_comes_is_counted_whatever_was_declared(self) -> None:
        pieces = RequestPieces(Client(*[b"x" * 60] * 10).request(content_length="5"), LIMIT)
        assert await anext(pieces) == b"x" * 60
        with pytest.raises(PayloadTooLarge):
            await anext(pieces)

    async def test_a_client_that_leaves_is_gone_and_its_body_is_not_whole(self) -> None:
        client = Client(b"a", more=True)
        client.leave()
        pieces = RequestPieces(client.request(), LIMIT)
        assert await anext(pieces) == b"a"
        with pytest.raises(ClientGone):
            await anext(pieces)

    async def test_a_compressed_body_is_refused(self) -> None:
        with pytest.raises(InvalidRequest, match="compressed"):
            RequestPieces(Client(b"x").request(content_encoding="gzip"), LIMIT)
