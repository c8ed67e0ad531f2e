"""`passerelle ingest`: adds what it is given, whatever waits already."""

import asyncio
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend.cli.ingest import Found, _copy, _Reading, find_files
from backend.core.errors import PayloadTooLarge, RateLimited
from backend.features.audit.service import Caller
from backend.features.knowledge.entities import Entity, EntityKind
from backend.features.knowledge.uploads import ReceivedFile

DOCUMENT = SimpleNamespace(id=uuid.UUID(int=1))


class Full:
    """A queue that is full until somebody works on it; stands in for intake and dispatcher."""

    def __init__(self) -> None:
        self.is_worked_on = False

    def start(self) -> None:
        self.is_worked_on = True

    async def add(self, _caller: Caller, _place: Entity, _file: ReceivedFile) -> Any:
        if not self.is_worked_on:
            raise RateLimited("200 documents are waiting already", retry_after=30.0)
        return SimpleNamespace(view=SimpleNamespace(document=DOCUMENT))


async def test_what_a_run_that_was_broken_off_left_is_read_first(tmp_path: Path) -> None:
    full, path = Full(), tmp_path / "note.txt"
    path.write_text("some words")
    knowledge = SimpleNamespace(
        intake=full, dispatcher=full, scratch=tmp_path, document_bytes=1_000, reads_images=False
    )
    container: Any = SimpleNamespace(knowledge=knowledge, vectors=SimpleNamespace(is_ours=lambda: True))
    reading = _Reading(container, Entity(EntityKind.COLLECTION, uuid.UUID(int=2)))
    async with asyncio.timeout(10):
        await reading.add(Found(path, path))
    assert (reading.waiting, reading.refused) == ({DOCUMENT.id: path}, [])


def test_links_that_lead_out_of_a_folder_are_left_out_and_said_so(tmp_path: Path) -> None:
    folder, outside = tmp_path / "papers", tmp_path / "outside"
    for place in (folder / "deep", outside):
        place.mkdir(parents=True)
        (place / "a.txt").write_text("some words")
    (folder / "secret.txt").symlink_to(outside / "a.txt")
    (folder / "deep" / "all").symlink_to(outside)
    (folder / "deep" / "up.txt").symlink_to("../../outside/a.txt")
    found, left_out = find_files([folder])
    assert [one.path for one in found] == [folder / "deep" / "a.txt"]
    assert [one.path for one in left_out] == [
        folder / "deep" / "all",
        folder / "deep" / "up.txt",
        folder / "secret.txt",
    ]
    assert all("leads out of the folder" in one.reason for one in left_out)


def test_links_within_a_folder_are_read_once_by_the_name_of_the_file_and_circles_never(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("some words")
    (tmp_path / "a.txt").symlink_to("b.txt")
    (tmp_path / ".data").mkdir()
    (tmp_path / ".data" / "mounted.txt").write_text("other words")
    (tmp_path / "mounted.txt").symlink_to(".data/mounted.txt")
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "gone.txt").symlink_to("nowhere.txt")
    files, left_out = find_files([tmp_path, tmp_path / "b.txt"])
    assert [one.path for one in files] == [tmp_path / "b.txt", tmp_path / "mounted.txt"]
    assert left_out == []
    (tmp_path / "circle").symlink_to("circle")
    assert find_files([tmp_path])[0] == files


def test_a_link_that_is_named_itself_is_read(tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "a.txt").write_text("some words")
    (tmp_path / "papers" / "link.txt").symlink_to("../a.txt")
    (tmp_path / "folder").symlink_to("papers")
    link = tmp_path / "papers" / "link.txt"
    assert find_files([link]) == ([Found(link, tmp_path / "a.txt")], [])
    assert find_files([tmp_path / "folder"])[0] == []


def test_what_becomes_a_link_before_it_is_copied_is_not_read(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("some words")
    (folder / "deep" / "b.txt").write_text("other words")
    outside.mkdir()
    (outside / "b.txt").write_text("a secret")
    [file, deep], _ = find_files([folder])
    assert _copy(file, tmp_path / "copy", 100)[0] == len("some words")
    with pytest.raises(PayloadTooLarge):
        _copy(file, tmp_path / "copy", 3)
    file.path.unlink()
    file.path.symlink_to(outside / "b.txt")
    (folder / "deep" / "b.txt").unlink()
    (folder / "deep").rmdir()
    (folder / "deep").symlink_to(outside)
    (tmp_path / "copy").unlink()
    for one in (file, deep):
        with pytest.raises(OSError, match="link"):
            _copy(one, tmp_path / "copy", 100)
    assert not (tmp_path / "copy").exists()
