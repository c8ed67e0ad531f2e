"""What a login provider says is believed only when it is signed, ours, fresh and of this very login."""

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from backend.core.errors import GatewayError, IdentityProviderFailed, NotAuthenticated
from backend.core.identity_provider import LoginTicket
from backend.llm.errors import ProviderAuthFailed, ProviderError, ProviderRejected, ProviderUnreachable
from backend.providers.id_tokens import IdTokens
from backend.providers.oidc import Client, OidcProvider
from backend.providers.oidc_keys import SigningKeys
from backend.wire.multipart import Form

ISSUER, CLIENT, NONCE = "https://login.test/realm/", "passerelle", "n-0S6_WzA2Mj"
NOW = 1_800_000_000
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
CLAIMS = {"iss": ISSUER, "aud": CLIENT, "sub": "p-1", "exp": NOW + 60, "iat": NOW, "nonce": NONCE}
Key = RSAKey | ECKey | OKPKey | OctKey


class KeySource:
    """The provider's key set, and how often it was asked for."""

    def __init__(self, *keys: Mapping[str, Any]) -> None:
        self.keys: list[Mapping[str, Any]] = list(keys) or [public(RSA), public(EC), public(ED)]
        self.body: bytes | None = None
        self.fetches = 0
        self.now = 1_000.0
        self.signing = SigningKeys(self.fetch, lambda: self.now)

    async def fetch(self) -> bytes:
        self.fetches += 1
        return self.body if self.body is not None else json.dumps({"keys": self.keys}).encode()

    def tokens(self) -> IdTokens:
        return IdTokens(ISSUER, CLIENT, self.signing, lambda: NOW)


class Permissive(JWSRegistry):
    """Signs with whatever a test says."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


def public(key: RSAKey | ECKey | OKPKey, **more: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), **more}


def signed(claims: Mapping[str, Any], key: Key = EC, alg: str = "ES256", **header: Any) -> str:
    given = {"alg": alg, "kid": key.kid, **header}
    kept = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(kept, dict(claims), key, registry=Permissive(strict_check_header=False))


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def by_hand(header: Mapping[str, Any]) -> str:
    """Return a token with a right signature over a header that no library writes."""
    said = f"{part(header)}.{part(CLAIMS)}"
    signature = JWSRegistry.algorithms["ES256"].sign(said.encode(), EC)
    return f"{said}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


async def test_a_token_made_by_hand_is_as_good_as_another() -> None:
    await KeySource().tokens().verify(by_hand({"alg": "ES256", "kid": "ec", "typ": "jwt"}), NONCE)


@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA")])
async def test_a_token_in_order_is_believed(key: Key, alg: str) -> None:
    said = {**CLAIMS, "email": "a@b.test", "email_verified": True, "name": "Ada", "aud": [CLIENT], "x": {"y": [1]}}
    identity = await KeySource().tokens().verify(signed(said, key, alg, x5t="abc", unknown=1), NONCE)
    assert (identity.issuer, identity.subject) == (ISSUER, "p-1")
    assert (identity.verified_email, identity.name) == ("a@b.test", "Ada")


async def test_an_email_counts_only_when_it_is_said_to_be_verified() -> None:
    tokens = KeySource().tokens()
    for verified in (False, None, "true", 1):
        token = signed({**CLAIMS, "email": "a@b.test", "email_verified": verified, "name": "a\x00b"})
        identity = await tokens.verify(token, NONCE)
        assert (identity.verified_email, identity.name) == (None, "")


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": ISSUER.rstrip("/")},
        {"iss": [ISSUER]},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": [CLIENT, "other"]},
        {"aud": [CLIENT, "other"], "azp": "other"},
        {"aud": "other", "azp": CLIENT},
        {"aud": []},
        {"azp": "other"},
        {"nonce": "another"},
        {"nonce": [NONCE]},
        {"nonce": ""},
        {"exp": NOW - 31},
        {"exp": "never"},
        {"exp": True},
        {"iat": NOW + 31},
        {"nbf": NOW + 31},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a\x00b"},
        {"sub": "\u00e9"},
        {"sub": "x" * 256},
        *({name: None} for name in CLAIMS),
    ],
    ids=str,
)
async def test_a_claim_that_is_wrong_is_not_believed(claims: Mapping[str, Any]) -> None:
    with pytest.raises(NotAuthenticated, match="cannot be trusted"):
        await KeySource().tokens().verify(signed({**CLAIMS, **claims}), NONCE)


@pytest.mark.parametrize("name", CLAIMS)
async def test_no_claim_may_be_left_out(name: str) -> None:
    with pytest.raises(NotAuthenticated):
        await KeySource().tokens().verify(signed({n: v for n, v in CLAIMS.items() if n != name}), NONCE)


async def test_clocks_may_differ_by_half_a_minute() -> None:
    tokens = KeySource().tokens()
    await tokens.verify(signed({**CLAIMS, "exp": NOW - 29}), NONCE)
    await tokens.verify(signed({**CLAIMS, "iat": NOW + 29}), NONCE)


def forgeries() -> dict[str, str]:
    pem = RSA.raw_value.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[union-attr]
    stranger = ECKey.generate_key("P-256", {"kid": "ec"})
    header, payload, signature = signed(CLAIMS).split(".")
    return {
        "alg none": f"{part({'alg': 'none', 'kid': 'ec'})}.{payload}.",
        "alg none with signature": f"{part({'alg': 'none', 'kid': 'ec'})}.{payload}.{signature}",
        "public key as secret": signed(CLAIMS, OctKey.import_key(base64.b64encode(pem), {"kid": "rsa"}), "HS256"),
        "another algorithm": signed(CLAIMS, RSA, "RS512"),
        "key of another type": signed(CLAIMS, EC, kid="rsa"),
        "stranger's key": signed(CLAIMS, stranger),
        "key in the header": signed(CLAIMS, stranger, jwk=public(stranger), kid="new"),
        "address in the header": signed(CLAIMS, stranger, jku="https://evil.test/keys", kid="new"),
        "changed claims": f"{header}.{part({**CLAIMS, 'sub': 'admin'})}.{signature}",
        "no signature": f"{header}.{payload}.",
        "critical extension": by_hand({"alg": "ES256", "kid": "ec", "crit": ["new"], "new": 1}),
        "critical extension that the library knows": by_hand(
            {"alg": "ES256", "kid": "ec", "crit": ["b64"], "b64": True}
        ),
        "access token": signed(CLAIMS, typ="at+jwt"),
        "type that is none": f"{part({'alg': 'ES256', 'typ': 1})}.{payload}.{signature}",
        "name that is none": f"{part({'alg': 'ES256', 'kid': ['ec']})}.{payload}.{signature}",
        "algorithm that is none": f"{part({'alg': ['ES256'], 'kid': 'ec'})}.{payload}.{signature}",
        "header that is none": f"{part([])}.{payload}.{signature}",
        "five parts": f"{header}.a.b.c.d",
        "too large": signed({**CLAIMS, "groups": "x" * 16_384}),
        "deep header": base64.urlsafe_b64encode(b"[" * 3_000).decode() + f".{payload}.{signature}",
        "nothing": "",
        "not ascii": "\u00e9.\u00e9.\u00e9",
    }


@pytest.mark.parametrize("kind", forgeries())
async def test_a_forgery_is_not_believed(kind: str) -> None:
    with pytest.raises(NotAuthenticated, match="cannot be trusted"):
        await KeySource().tokens().verify(forgeries()[kind], NONCE)


@pytest.mark.parametrize("kind", ["alg none", "public key as secret", "another algorithm", "access token", "too large"])
async def test_no_key_is_fetched_for_what_cannot_be_ours(kind: str) -> None:
    source = KeySource()
    with pytest.raises(NotAuthenticated):
        await source.tokens().verify(forgeries()[kind], NONCE)
    assert source.fetches == 0


async def test_made_up_key_names_fetch_the_keys_once_a_minute() -> None:
    source = KeySource()
    tokens = source.tokens()
    for number in range(50):
        with pytest.raises(NotAuthenticated):
            await tokens.verify(signed(CLAIMS, kid=f"made-up-{number}"), NONCE)
    assert source.fetches == 1
    source.now += 61
    for number in range(50):
        with pytest.raises(NotAuthenticated):
            await tokens.verify(signed(CLAIMS, kid=f"made-up-{number}"), NONCE)
    assert source.fetches == 2
    await tokens.verify(signed(CLAIMS), NONCE)
    assert source.fetches == 2, "the right keys are still there"


async def test_a_new_key_is_found_and_an_old_one_is_forgotten_within_the_hour() -> None:
    source = KeySource(public(EC))
    tokens = source.tokens()
    await tokens.verify(signed(CLAIMS), NONCE)
    source.keys = [public(ED)]
    source.now += 61
    await tokens.verify(signed(CLAIMS, ED, "EdDSA"), NONCE)
    with pytest.raises(NotAuthenticated):
        await tokens.verify(signed(CLAIMS), NONCE)
    source.keys = []
    source.now += 3_600
    with pytest.raises(NotAuthenticated):
        await tokens.verify(signed(CLAIMS, ED, "EdDSA"), NONCE)


async def test_a_token_without_a_key_name_needs_a_set_with_one_key_that_fits() -> None:
    await KeySource(public(EC), public(RSA)).tokens().verify(signed(CLAIMS, kid=None), NONCE)
    two = KeySource(public(EC), public(ECKey.generate_key("P-256", {"kid": "other"})))
    with pytest.raises(NotAuthenticated):
        await two.tokens().verify(signed(CLAIMS, kid=None), NONCE)


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"alg": "ES384"},
        {"kid": 7},
        {"x": "AA"},
        {"x": 7},
        {"x": None},
        {"crv": "P-384"},
        {"kty": "oct", "k": "c2VjcmV0", "alg": "ES256"},
        {"kty": None},
    ],
    ids=str,
)
async def test_a_key_that_is_not_for_signatures_of_its_kind_is_passed_over(change: Mapping[str, Any]) -> None:
    source = KeySource({**public(EC), **change}, public(RSA))
    with pytest.raises(NotAuthenticated):
        await source.tokens().verify(signed(CLAIMS), NONCE)
    await source.tokens().verify(signed(CLAIMS, RSA, "RS256"), NONCE)


async def test_a_short_rsa_key_is_passed_over() -> None:
    short = public(RSA, n=part("x" * 100))
    with pytest.raises(NotAuthenticated):
        await KeySource(short).tokens().verify(signed(CLAIMS, RSA, "RS256"), NONCE)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"keys":{}}', b'{"keys":[1]}', b"[" * 50_000])
async def test_keys_that_cannot_be_read_are_the_providers_fault(body: bytes) -> None:
    source = KeySource()
    source.body = body
    with pytest.raises(IdentityProviderFailed):
        await source.tokens().verify(signed(CLAIMS), NONCE)


DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://login.test/authorize?tenant=1",
    "token_endpoint": "https://tokens.test/token",
    "jwks_uri": "https://keys.test/keys",
}
TICKET = LoginTicket("state-1", NONCE, "verifier-1")


class ScriptedWeb:
    """Implements `Web` with what a test has written."""

    def __init__(self, **document: Any) -> None:
        self.document: Any = {**DOCUMENT, **document}
        self.reply: bytes | ProviderError = b"{}"
        self.asked: list[str] = []
        self.posted: list[tuple[str, bytes, str | None]] = []

    async def get(self, url: str) -> bytes:
        self.asked.append(url)
        if isinstance(self.document, ProviderError):
            raise self.document
        if url == DOCUMENT["jwks_uri"]:
            return json.dumps({"keys": [public(EC)]}).encode()
        return self.document if isinstance(self.document, bytes) else json.dumps(self.document).encode()

    async def post(self, url: str, form: Form, basic: str | None) -> bytes:
        self.posted.append((url, form.data, basic))
        if isinstance(self.reply, ProviderError):
            raise self.reply
        return self.reply

    def provider(self, issuer: str = ISSUER) -> OidcProvider:
        client = Client(issuer, CLIENT, "s3cret:/", "https://gateway.test/cb", ("openid", "email"))
        return OidcProvider(client, self, lambda: NOW, time.monotonic)


async def test_the_description_is_read_once_and_people_are_sent_where_it_says() -> None:
    web = ScriptedWeb()
    provider = web.provider()
    url = await provider.login_url(TICKET)
    assert await provider.login_url(TICKET) == url
    assert web.asked == ["https://login.test/realm/.well-known/openid-configuration"]
    assert url.startswith("https://login.test/authorize?tenant=1&response_type=code&client_id=passerelle")
    assert TICKET.verifier not in url
    assert "s3cret" not in url


async def test_the_secret_goes_to_the_token_endpoint_alone() -> None:
    web = ScriptedWeb()
    web.reply = json.dumps({"id_token": signed(CLAIMS)}).encode()
    assert (await web.provider().identify("code-1", TICKET)).subject == "p-1"
    [(url, form, basic)] = web.posted
    assert url == DOCUMENT["token_endpoint"]
    assert basic == base64.b64encode(b"passerelle:s3cret%3A%2F").decode()
    assert b"s3cret" not in form
    assert b"code_verifier=verifier-1" in form


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": ISSUER.rstrip("/")},
        {"issuer": "https://evil.test"},
        {"token_endpoint": "http://login.test/token"},
        {"token_endpoint": "http://127.0.0.1/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://a@b.test/"},
        {"jwks_uri": "https://b.test\\@evil.test/"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "https://a.test/\r\nset-cookie: x"},
        {"authorization_endpoint": "https://a.test/#fragment"},
        {"authorization_endpoint": "https://a.test/" + "x" * 2_000},
        {"jwks_uri": None},
    ],
    ids=str,
)
async def test_a_description_of_somebody_else_or_with_odd_addresses_is_refused(document: Mapping[str, Any]) -> None:
    web = ScriptedWeb(**document)
    with pytest.raises(IdentityProviderFailed, match="GATEWAY_OIDC__ISSUER"):
        await web.provider().login_url(TICKET)
    assert len(web.asked) == 1, "no address in it is asked"


async def test_plain_http_is_for_a_provider_on_this_machine() -> None:
    here = dict.fromkeys(DOCUMENT, "http://127.0.0.1:9000/x")
    assert await ScriptedWeb(**here).provider("http://127.0.0.1:9000/x").login_url(TICKET)
    with pytest.raises(IdentityProviderFailed):
        await (
            ScriptedWeb(**{**here, "jwks_uri": "http://b.test/"}).provider("http://127.0.0.1:9000/x").login_url(TICKET)
        )


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (ProviderRejected("LEAK"), NotAuthenticated),
        (ProviderAuthFailed("LEAK"), IdentityProviderFailed),
        (ProviderUnreachable("LEAK"), IdentityProviderFailed),
        (b"<html>LEAK", IdentityProviderFailed),
        (b'{"access_token":"LEAK"}', IdentityProviderFailed),
        (b'{"id_token":7}', IdentityProviderFailed),
        (b'{"id_token":"LEAK"}', NotAuthenticated),
    ],
)
async def test_what_goes_wrong_is_told_in_our_words(reply: bytes | ProviderError, kind: type[GatewayError]) -> None:
    web = ScriptedWeb()
    web.reply = reply
    with pytest.raises(kind) as raised:
        await web.provider().identify("code-1", TICKET)
    assert "LEAK" not in raised.value.message


async def test_a_provider_that_takes_no_secret_is_refused() -> None:
    web = ScriptedWeb(token_endpoint_auth_methods_supported=["private_key_jwt"])
    with pytest.raises(IdentityProviderFailed):
        await web.provider().identify("code-1", TICKET)
    assert not web.posted
