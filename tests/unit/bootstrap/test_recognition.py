"""What reads scans: the program that is there with the languages it has, and Mistral only where it was asked for."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from backend.bootstrap.recognition import build_reading, check_recognition
from backend.core.config import Settings, load_settings
from backend.core.errors import ConfigurationError
from tests.fakes.tesseract import program


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where programs are looked for."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def configured(ocr: str, **values: Any) -> Settings:
    return load_settings(None, knowledge={"ocr": ocr}, **values)


async def reads_images(settings: Settings) -> bool:
    async with contextlib.AsyncExitStack() as stack:
        return build_reading(settings, stack).reads_images


async def test_auto_takes_the_program_that_is_there(folder: Path) -> None:
    binary = program(folder)
    assert check_recognition(configured("auto")) == f"scans are read by {binary} (fra+eng)"
    assert await reads_images(configured("auto"))


async def test_auto_is_content_with_the_languages_there_are(folder: Path) -> None:
    program(folder, languages="eng\\nosd")
    assert "(eng)" in check_recognition(configured("auto"))


@pytest.mark.parametrize("languages", ["", "deu"])
async def test_auto_does_without(folder: Path, languages: str) -> None:
    if languages:
        program(folder, languages=languages)
    settings = configured("auto", mistral_api_key="x" * 32)
    assert check_recognition(settings) == "scans are not read"
    assert not await reads_images(settings)


async def test_off_is_off(folder: Path) -> None:
    program(folder)
    assert not await reads_images(configured("off"))


async def test_a_program_that_was_asked_for_must_be_there_with_its_languages(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such program"):
        check_recognition(configured("tesseract"))
    program(folder, languages="eng")
    with pytest.raises(ConfigurationError, match=r"lacks some of fra\+eng"):
        await reads_images(configured("tesseract"))


async def test_mistral_is_asked_where_it_was_chosen_and_there_is_a_key() -> None:
    settings = configured("mistral", mistral_api_key="x" * 32)
    assert "sent to Mistral" in check_recognition(settings)
    assert await reads_images(settings)
    with pytest.raises(ConfigurationError, match="MISTRAL_API_KEY"):
        check_recognition(configured("mistral"))
    with pytest.raises(ConfigurationError, match="MISTRAL_API_KEY"):
        await reads_images(configured("mistral"))


@pytest.mark.parametrize("languages", ["", "-h", "fra eng", "fra+", "../x", "fra+eng;ls"])
def test_languages_are_names(languages: str) -> None:
    with pytest.raises(ConfigurationError, match=r"(?i)ocr_languages"):
        load_settings(None, knowledge={"ocr_languages": languages})
