"""The types settings are made of: addresses, keys, lists, and the group they stand in."""

import ipaddress
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr
from pydantic_settings import NoDecode

_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?"
_URL = re.compile(rf"https?://{_HOST}(?:/[A-Za-z0-9._~/%-]*)?", re.ASCII)
_ENDPOINT = re.compile(_URL.pattern + r"(?:\?(?:[A-Za-z0-9._~!$'()*+,;:@/?&=-]|%[0-9A-Fa-f]{2})*)?", re.ASCII)
_REDIS = re.compile(rf"rediss?://(?:[^\s/?#@]*@)?{_HOST}(?:/\d{{0,4}})?", re.ASCII)
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", re.ASCII)
_MAX_ISSUER, _MAX_ENDPOINT = 150, 2_000
_ORIGIN = re.compile(rf"[a-z][a-z0-9+.-]*://{_HOST}/?|(?!https?:)[a-z][a-z0-9+.-]*://\*", re.ASCII | re.IGNORECASE)


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def _split_lines(value: Any) -> Any:
    return _split(value.replace("\n", ",")) if isinstance(value, str) else value


def _check_origin(origin: str) -> str:
    if origin != "*" and not _ORIGIN.fullmatch(origin):
        raise ValueError("must be *, an origin such as https://chat.example:8443, or all of a scheme such as app://*")
    return origin


def _check_url(url: str) -> str:
    if not _URL.fullmatch(url) or not _has_valid_port(url):
        raise ValueError("must be an address such as http://127.0.0.1:9001, without user name, query or fragment")
    return url.rstrip("/").removesuffix("/v1")


def _has_valid_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_endpoint(url: str, *, may_be_plain: bool) -> bool:
    """Whether an address that a login provider names may be asked: https, or http where only this machine is meant."""
    if len(url) > _MAX_ENDPOINT or not _ENDPOINT.fullmatch(url) or not _has_valid_port(url):
        return False
    return url.startswith("https:") or (may_be_plain and is_loopback(urlsplit(url).hostname or ""))


def _check_issuer(url: str) -> str:
    if not _URL.fullmatch(url) or not _has_valid_port(url) or len(url) > _MAX_ISSUER:
        raise ValueError("must be an address such as https://login.example.org, exactly as the provider writes it")
    if not url.startswith("https:") and not is_loopback(urlsplit(url).hostname or ""):
        raise ValueError("must begin with https://, or somebody on the way could log in as anybody")
    return url


def _check_domain(domain: str) -> str:
    if not _DOMAIN.fullmatch(domain):
        raise ValueError("must be the part of an email address after the @, such as example.org")
    return domain.lower()


BaseUrl = Annotated[str, AfterValidator(_check_url)]
"""An upstream's address; a trailing `/v1` is taken off, since paths are added with it."""

BaseUrls = Annotated[tuple[BaseUrl, ...], NoDecode, BeforeValidator(_split)]

Issuer = Annotated[str, AfterValidator(_check_issuer)]
"""A login provider's address to the letter: its tokens repeat it, with or without a slash at the end."""


def _check_secret(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value().strip()
    if not value.isprintable() or not value.isascii():
        raise ValueError("holds characters that cannot be in a key")
    return SecretStr(value)


Secret = Annotated[SecretStr, AfterValidator(_check_secret)]
"""A key, without the line end that files of secrets often have."""


def _check_redis_url(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    if not _REDIS.fullmatch(url) or not _has_valid_port(url):
        raise ValueError("must be an address such as redis://user:password@host:6379/0, or rediss:// for TLS")
    return secret


RedisUrl = Annotated[Secret, AfterValidator(_check_redis_url)]
"""Where a Redis is; it holds a password, so it is a secret as a whole."""

Secrets = Annotated[tuple[Secret, ...], NoDecode, BeforeValidator(_split)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_check_origin)], ...], NoDecode, BeforeValidator(_split)]
Lines = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_lines)]
Domains = Annotated[tuple[Annotated[str, AfterValidator(_check_domain)], ...], NoDecode, BeforeValidator(_split)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Group(BaseModel):
    """A group of settings; a misspelt name inside it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
