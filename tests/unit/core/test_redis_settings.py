"""The address of a Redis: checked at start, told to nobody."""

import pytest

from backend.core.config import load_settings
from backend.core.errors import ConfigurationError


@pytest.mark.parametrize(
    "url",
    ["redis://cache", "redis://cache:6379/0", "rediss://me:p4ss-w0rd!@cache.example:6380/12", "redis://:pw@[::1]:6379"],
)
def test_an_address_of_a_redis_is_taken(url: str) -> None:
    settings = load_settings(None, redis_url=url)
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == url
    assert "cache" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        *("http://me:canary-word@cache", "redis:/canary-word", "redis://", "unix:///tmp/canary-word"),
        *("redis://canary-word:99999999/0", "redis://cache/canary-word", "redis://cache:0"),
        *("redis://cache/0?password=canary-word", "redis://a b@cache", "redis://cache#canary-word"),
    ],
)
def test_what_is_none_is_refused_in_one_line_that_does_not_repeat_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None)
    told = str(caught.value)
    assert told.startswith("REDIS_URL: must be an address such as redis://")
    assert "\n" not in told
    assert "canary" not in told
