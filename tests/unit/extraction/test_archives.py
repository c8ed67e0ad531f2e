"""What an archive may be before anything unpacks it."""

import pytest

from backend.extraction.archives import check_archive
from backend.extraction.pages import Unreadable
from tests.fakes.documents import archive

_MB = 2**20


def test_an_archive_in_another_is_a_file_like_any_and_is_not_looked_into() -> None:
    bomb = archive({"zeros": b"0" * 9 * _MB})
    with pytest.raises(Unreadable, match="unpacks to more"):
        check_archive(bomb)
    check_archive(archive({"a.zip": bomb, "b.zip": b"PK\x03\x04 and nothing more"}))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x03\x04 and nothing more", "damaged"),
        (archive({"a.xml": b"0" * 2 * _MB}), "unpacks to more"),
        (archive({f"{n}.xml": b"" for n in range(10_001)}), "unpacks to more"),
    ],
)
def test_an_archive_that_is_damaged_or_out_of_proportion_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        check_archive(data)


def test_what_is_small_may_be_packed_as_well_as_it_likes() -> None:
    check_archive(archive({"a.xml": b"0" * _MB}))
