"""Where files go: the data folder, or a bucket that is configured whole."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from backend.adapters.blobs.local import LocalBlobs
from backend.adapters.blobs.s3 import S3Blobs
from backend.bootstrap.blobs import open_blobs, s3_place
from backend.core.config import load_settings
from backend.core.errors import ConfigurationError

WHOLE = {"bucket": "documents", "access_key_id": "an-access-key", "secret_access_key": "canary-secret"}


async def test_files_go_to_the_data_folder_unless_a_server_is_named(tmp_path: Path) -> None:
    for values, kind in (({}, LocalBlobs), ({"s3_endpoint_url": "http://127.0.0.1:1", "s3": WHOLE}, S3Blobs)):
        settings = load_settings(None, data_dir=tmp_path, **values)
        async with contextlib.AsyncExitStack() as stack:
            assert isinstance(await open_blobs(settings, stack, tmp_path), kind)


@pytest.mark.parametrize("lacking", WHOLE)
def test_half_a_bucket_is_refused(lacking: str) -> None:
    half = {name: value for name, value in WHOLE.items() if name != lacking}
    with pytest.raises(ConfigurationError, match=f"GATEWAY_S3__{lacking.upper()}") as raised:
        s3_place(load_settings(None, s3_endpoint_url="https://s3.example.org", s3=half))
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    "values",
    [
        {"s3_endpoint_url": "https://s3.example.org/below", "s3": WHOLE},
        {"s3_endpoint_url": "https://s3.example.org", "s3": {**WHOLE, "public_url": "https://example.org/s3"}},
    ],
)
def test_an_address_is_that_of_a_server(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="server alone"):
        s3_place(load_settings(None, **values))


@pytest.mark.parametrize("bucket", ["a", "A-bucket", "../x", "x/y", "-x-"])
def test_a_bucket_has_a_name(bucket: str) -> None:
    with pytest.raises(ConfigurationError):
        load_settings(None, s3_endpoint_url="https://s3.example.org", s3={**WHOLE, "bucket": bucket})


def test_callers_go_where_they_can() -> None:
    settings = load_settings(
        None, s3_endpoint_url="http://s3:9000", s3={**WHOLE, "public_url": "https://s3.example.org"}
    )
    place = s3_place(settings)
    assert place is not None
    assert (place.endpoint_url, place.public_url, place.redirects) == ("http://s3:9000", "https://s3.example.org", True)
