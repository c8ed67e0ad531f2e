"""Documents from their upload to what is searched, and to their removal."""

import asyncio
import json
import zlib
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, text

from backend.cli.erase import _erase
from backend.core.config import Settings
from backend.features.knowledge.languages import Language
from backend.features.knowledge.models import Chunk
from backend.features.knowledge.terms import query_terms
from backend.features.knowledge.vector_rows import VectorRows
from tests.fakes import documents
from tests.integration.accounts.conftest import ADMIN_EMAIL, PASSWORD, Side, open_side
from tests.integration.knowledge.conftest import (
    gone,
    make_collection,
    member,
    passages,
    send,
    send_version,
    settled,
    until,
    upload,
)

PAGE = (
    "<html><body><article><h1>Congés</h1><p>"
    + "Vingt-cinq jours de congés payés. " * 10
    + "</p></article></body></html>"
)
KINDS = {
    "droits.pdf": documents.pdf("Vingt-cinq jours de congés.", "Le préavis."),
    "manuel.docx": documents.word(("Heading 1", "Congés"), ("Normal", "Vingt-cinq jours de congés.")),
    "bilan.pptx": documents.slides(("Congés", "vingt-cinq jours de congés")),
    "prix.xlsx": documents.sheets(Jours=[["Quoi", "Combien"], ["congés", 25]]),
    "gens.csv": b"nom;droit\nZoe;cong\xc3\xa9s\n",
    "page.html": PAGE.encode(),
    "note.md": "# Droits\n\nVingt-cinq jours de congés.".encode(),
    "note.txt": "Vingt-cinq jours de congés.".encode("utf-16"),
}


async def stored(side: Side, table: str) -> int:
    async with side.container.database.reading() as session:
        return int(await session.scalar(text(f"select count(*) from {table}")) or 0)  # noqa: S608 (our own names)


async def has_none(side: Side) -> bool:
    return not await stored(side, "documents")


async def found(side: Side, word: str) -> int:
    """Return how many live passages hold a term."""
    is_embedded = side.container.database.is_embedded
    match = "chunk_terms match :word" if is_embedded else "terms @@ to_tsquery('simple', :word)"
    key = "chunk_terms.rowid" if is_embedded else "chunk_terms.number"
    query = f"select count(*) from chunk_terms join chunks on chunks.number = {key} where is_live and {match}"  # noqa: S608
    async with side.container.database.reading() as session:
        return int(await session.scalar(text(query), {"word": word}) or 0)


def files(settings: Settings) -> list[str]:
    return sorted(
        str(path.relative_to(settings.data_dir))
        for folder in ("blobs", "scratch")
        for path in (settings.data_dir / folder).rglob("*")
        if path.is_file()
    )


@pytest.mark.parametrize("name", KINDS)
async def test_every_kind_of_document_is_found_by_its_words(working: Side, name: str) -> None:
    place = await make_collection(working)
    done = await settled(working, await upload(working, place, KINDS[name], name))
    assert (done["status"], done["stage"], done["error"], done["progress"]) == ("ready", "switched", None, 100)
    assert (done["ready_version"], done["filename"], done["chunk_count"] > 0) == (1, name, True)
    assert any("ongés" in passage for passage in await passages(working, done["id"]))
    assert await found(working, query_terms("congés", [Language(done["language"])])[0]) > 0


async def test_the_same_bytes_in_the_same_place_are_one_document(working: Side) -> None:
    place, other = await make_collection(working), await make_collection(working, "other")
    first = await upload(working, place, b"some words", "a.txt")
    again = await send(working, place, b"some words", "b.txt")
    assert (again.status_code, again.json()["id"], again.json()["filename"]) == (200, first, "a.txt")
    assert await upload(working, other, b"some words", "a.txt") != first
    await settled(working, first)
    failed = await upload(working, place, b" ", "blank.txt")
    assert (await settled(working, failed))["status"] == "failed"
    assert (await send(working, place, b" ", "blank.txt")).json()["id"] == failed


async def test_uploads_of_the_same_bytes_at_once_are_one_document(working: Side, settings: Settings) -> None:
    place = await make_collection(working)
    replies = await asyncio.gather(*[send(working, place, b"some words" * 1000, f"{n}.txt") for n in range(6)])
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert sorted(reply.status_code for reply in replies) == [200] * 5 + [202]
    await settled(working, replies[0].json()["id"])
    assert await stored(working, "documents") == 1
    assert [name.rpartition("/")[2] for name in files(settings)] == ["file", "pages"]


async def test_a_new_version_takes_the_place_of_the_old_one_once_it_is_ready(working: Side, settings: Settings) -> None:
    place = await make_collection(working)
    document = await upload(working, place, b"the old words", "v1.txt")
    await settled(working, document)
    await working.container.knowledge.dispatcher.aclose()
    reply = await send_version(working, document, b"the fresh sentences", "v2.txt")
    assert (reply.status_code, reply.json()["version"], reply.json()["ready_version"]) == (202, 2, 1)
    assert await passages(working, document) == ["the old words"]
    working.container.knowledge.dispatcher.start()
    done = await settled(working, document)
    assert (done["status"], done["ready_version"], done["filename"]) == ("ready", 2, "v2.txt")
    assert await passages(working, document) == ["the fresh sentences"]
    assert (await stored(working, "chunks"), await found(working, "old"), await found(working, "fresh")) == (1, 0, 1)
    assert files(settings) == [f"blobs/documents/{document}/2/{name}" for name in ("file", "pages")]
    versions = (await working.ask("GET", f"/documents/{document}/versions")).json()
    assert [(v["version"], v["filename"]) for v in versions["items"]] == [(2, "v2.txt"), (1, "v1.txt")]
    assert (await send_version(working, document, b"the fresh sentences")).status_code == 200


async def test_a_version_that_cannot_be_read_leaves_the_old_one_searched(working: Side) -> None:
    document = await upload(working, await make_collection(working), b"the old words", "v1.txt")
    await settled(working, document)
    await send_version(working, document, b"%PDF-1.7 nothing more", "v2.pdf")
    done = await settled(working, document)
    assert (done["status"], done["ready_version"], "damaged" in done["error"]) == ("failed", 1, True)
    assert await passages(working, document) == ["the old words"]
    content = await working.ask("GET", f"/documents/{document}/content")
    assert content.content == b"the old words"


HOSTILE: dict[str, tuple[bytes, str]] = {
    "a.pdf": (b"%PDF-1.7 nothing more", "damaged"),
    "bomb.pdf": (documents.pdf(packed=zlib.compress(b"0" * 200_000_000)), "too large"),
    "deep.html": (b"<html><body>" + b"<div>" * 100_000 + b"x" + b"</div>" * 100_000, "nested"),
    "scan.pdf": (documents.pdf(""), "no text was found"),
    "empty.txt": (b"", "it is empty"),
    "blank.md": (b" \n\n ", "it is empty"),
    "laughs.docx": (documents.word_of(b'<!DOCTYPE d [<!ENTITY a "ha">]><d>&a;</d>'), ""),
}
REFUSED: dict[str, tuple[bytes, str]] = {
    "a.docx": (b"PK\x03\x04 broken", "damaged"),
    "a.zip": (documents.archive({"a.txt": b"x"}), "one by one"),
    "bomb.docx": (documents.archive({"word/document.xml": b"0" * 30_000_000}), "unpacks"),
    "many.docx": (documents.archive({f"{n}" * 20: b"" for n in range(20_000)}), "unpacks"),
    "a.doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 100, "old or protected"),
    "a.txt": (b"\x7fELF\x00\x00", "cannot be read"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_document_fails_with_a_reason_and_harms_nothing(working: Side, name: str) -> None:
    data, told = HOSTILE[name]
    place = await make_collection(working)
    done = await settled(working, await upload(working, place, data, name))
    assert done["status"] == "failed"
    assert done["error"]
    assert told in done["error"]
    good = await settled(working, await upload(working, place, b"all is well", "good.txt"))
    assert good["status"] == "ready"


@pytest.mark.parametrize("name", REFUSED)
async def test_what_nobody_can_read_is_refused_at_once(working: Side, settings: Settings, name: str) -> None:
    data, told = REFUSED[name]
    reply = await send(working, await make_collection(working), data, name)
    assert (reply.status_code, told in reply.json()["detail"]) == (422, True), reply.text
    assert files(settings) == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../x.txt", "x.txt"),
        ("C:\\dir\\x.txt", "x.txt"),
        ("CON", "CON"),
        (".htaccess", "htaccess"),
        ("x.pdf.html", "x.pdf.html"),
        ("\u202egpj.txt", "gpj.txt"),
        ("e\u0301te\u0301.txt", "\u00e9t\u00e9.txt"),
        ("a" * 4096 + ".txt", "a" * 251 + ".txt"),
        ("...", "document"),
    ],
)
async def test_a_name_is_a_text_and_never_a_path(working: Side, settings: Settings, given: str, kept: str) -> None:
    boundary = "cut"
    place = await make_collection(working)
    head = "".join(
        f'--{boundary}\r\ncontent-disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in (("entity_type", "collection"), ("entity_id", place))
    )
    quoted = given.replace("\\", "\\\\")
    head += f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{quoted}"\r\n\r\n'
    body = head.encode() + b"some words\r\n" + f"--{boundary}--\r\n".encode()
    headers = {**working.headers, "content-type": f"multipart/form-data; boundary={boundary}"}
    reply = await working.client.post("/api/v1/documents/upload", content=body, headers=headers)
    if len(given) > 4000:
        assert reply.status_code in {202, 400}
        if reply.status_code == 400:
            return
    assert (reply.status_code, reply.json().get("filename")) == (202, kept), reply.text
    document = reply.json()["id"]
    await settled(working, document)
    assert all(name.startswith(f"blobs/documents/{document}/1/") for name in files(settings))


async def test_a_download_is_an_attachment_that_no_browser_shows(working: Side) -> None:
    document = await upload(working, await make_collection(working), PAGE.encode(), "été.html")
    reply = await working.ask("GET", f"/documents/{document}/content")
    assert (reply.status_code, reply.content) == (200, PAGE.encode())
    told = {name: reply.headers[name] for name in ("content-type", "content-disposition", "x-content-type-options")}
    assert told == {
        "content-type": "application/octet-stream",
        "content-disposition": "attachment; filename*=UTF-8''%C3%A9t%C3%A9.html",
        "x-content-type-options": "nosniff",
    }


async def test_deletion_leaves_nothing(working: Side, settings: Settings) -> None:
    place = await make_collection(working)
    document = await upload(working, place, b"the words of a canary", "canary.txt")
    kept = await upload(working, place, b"something else entirely", "kept.txt")
    await settled(working, document)
    await settled(working, kept)
    await send_version(working, document, b"the second canary", "canary2.txt")
    reply = await working.ask("DELETE", f"/documents/{document}")
    assert (reply.status_code, reply.json()["status"]) == (202, "deleting")
    assert await found(working, "canari") + await found(working, "canary") == 0
    await gone(working, document)
    assert [await stored(working, table) for table in ("documents", "chunks", "chunk_terms", "document_versions")] == (
        [1, 1, 1, 1]
    )
    assert all(kept in name for name in files(settings))


async def test_no_word_of_a_removed_document_stays_on_the_disk(working: Side, settings: Settings) -> None:
    if not working.container.database.is_embedded:
        pytest.skip("a server's files are its own: docs/history.md")
    word = b"zuikaquorbelv"
    place = await make_collection(working)
    for n in range(3):
        await settled(working, await upload(working, place, f"kept words {n} ".encode() * 300, f"{n}.txt"))
    document = await upload(working, place, b"the kept words and " + word + b" too", "some.txt")
    await settled(working, document)
    await send_version(working, document, b"again " + word, "some.txt")
    await settled(working, document)
    assert [path for path in settings.data_dir.rglob("*") if path.is_file() and word in path.read_bytes()]
    await working.ask("DELETE", f"/documents/{document}")
    await gone(working, document)
    await working.container.history.upkeep.compact()
    assert [path for path in settings.data_dir.rglob("*") if path.is_file() and word in path.read_bytes()] == []
    assert await found(working, "kept")


async def test_vectors_go_with_the_last_document_that_holds_their_text(working: Side) -> None:
    place, other = await make_collection(working), await make_collection(working, "other")
    documents = [
        await upload(working, place, b"words of one alone", "one.txt"),
        await upload(working, place, b"words of both", "same.txt"),
        await upload(working, other, b"words of both", "same.txt"),
    ]
    for document in documents:
        await settled(working, document)
    async with working.container.database.reading() as session:
        hashes = set(await session.scalars(select(Chunk.text_hash)))
    assert len(hashes) == 2
    await VectorRows(working.container.database).keep("f" * 16, [(key, b"0000") for key in sorted(hashes)])
    for document, left in zip(documents, (1, 1, 0), strict=True):
        await working.ask("DELETE", f"/documents/{document}")
        await gone(working, document)
        assert await stored(working, "vectors") == left


async def test_a_collection_goes_with_all_its_documents(working: Side, settings: Settings) -> None:
    place = await make_collection(working)
    for n in range(5):
        await upload(working, place, f"number {n}".encode() * 100, f"{n}.txt")
    assert (await working.ask("DELETE", f"/collections/{place}")).status_code == 204
    await until(partial(has_none, working))
    assert [await stored(working, table) for table in ("chunks", "chunk_terms", "document_versions")] == [0, 0, 0]
    assert files(settings) == []


async def test_documents_of_an_account_that_is_removed_go_too(working: Side, settings: Settings) -> None:
    made = await working.make_user("eve@example.org")
    eve = await working.as_user("eve@example.org")
    document = await upload(eve, await make_collection(eve), b"some words")
    await settled(eve, document)
    assert (await working.ask("DELETE", f"/admin/users/{made['id']}")).status_code == 204
    await working.container.knowledge.dispatcher.aclose()
    working.container.knowledge.dispatcher.start()  # looks for such documents first
    await until(partial(has_none, working))
    assert (await stored(working, "chunks"), files(settings)) == (0, [])


async def test_erasing_an_account_while_no_gateway_runs_takes_its_documents(settings: Settings) -> None:
    word = b"zuikaquorbelv"
    async with open_side(settings) as side:
        await side.container.accounts.own.create_admin(ADMIN_EMAIL, PASSWORD)
        eve = await member(await side.as_user(), "eve")
        document = await upload(eve, await make_collection(eve), b"the words of " + word)
        await settled(eve, document)
    await _erase(settings, "eve@example.org")
    assert files(settings) == []
    assert [path for path in settings.data_dir.rglob("*") if path.is_file() and word in path.read_bytes()] == []
    async with open_side(settings) as side:
        assert [await stored(side, table) for table in ("documents", "chunks", "chunk_terms")] == [0, 0, 0]


async def test_progress_is_told_stage_by_stage_until_the_end(working: Side) -> None:
    place = await make_collection(working)
    await working.container.knowledge.dispatcher.aclose()
    document = await upload(working, place, b"some words. " * 20_000)

    async def told() -> list[dict[str, Any]]:
        async with working.client.stream(
            "GET", f"/api/v1/documents/{document}/events", headers=working.headers
        ) as reply:
            assert reply.headers["content-type"] == "text/event-stream"
            text = (await reply.aread()).decode()
        return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]

    watching = asyncio.create_task(told())
    await asyncio.sleep(0.2)
    working.container.knowledge.dispatcher.start()
    async with asyncio.timeout(30):
        events = await watching
    stages = list(dict.fromkeys((event["status"], event["stage"]) for event in events))
    following = ["uploaded", "extracted", "chunked", "embedded", "indexed", "switched"]
    assert stages == [("queued", "uploaded"), *(("running", stage) for stage in following), ("ready", "switched")]


async def test_an_upload_over_the_limit_is_refused_and_leaves_nothing(settings: Settings) -> None:
    small = settings.knowledge.model_copy(update={"document_bytes": 1000, "queued_documents": 2})
    async with open_side(settings.model_copy(update={"knowledge": small})) as side:
        await side.container.accounts.own.create_admin("ada@example.org", "a long and rare phrase")
        admin = await side.as_user()
        await side.container.knowledge.dispatcher.aclose()
        place = await make_collection(admin)
        assert (await send(admin, place, b"x" * 1001)).status_code == 413
        assert (await send(admin, place, b"x" * 200_000)).status_code == 413
        assert files(settings) == []
        await upload(admin, place, b"x" * 1000)
        await upload(admin, place, b"y" * 1000)
        third = await send(admin, place, b"z" * 1000)
        assert (third.status_code, int(third.headers["retry-after"]) > 0) == (429, True)


async def test_an_administrator_cancels_and_tries_again(working: Side) -> None:
    await working.container.knowledge.dispatcher.aclose()
    document = await upload(working, await make_collection(working), b"some words")
    cancelled = await working.ask("POST", f"/admin/documents/{document}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (await working.ask("POST", f"/admin/documents/{document}/cancel")).status_code == 409
    listed = (await working.ask("GET", "/admin/documents?status=cancelled")).json()
    assert [item["id"] for item in listed["items"]] == [document]
    working.container.knowledge.dispatcher.start()
    assert (await working.ask("POST", f"/admin/documents/{document}/retry")).json()["status"] == "queued"
    assert (await settled(working, document))["status"] == "ready"
    assert "document.retry" in await working.actions()
