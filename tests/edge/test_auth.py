"""Who may publish, play and administer: by keys and by tokens, and no scope implies another."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jwt", reason="pyjwt is not installed")

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from streamgen.errors import ConfigError
from streamgen_edge.auth.access import Access
from streamgen_edge.auth.asking import Asking, Scope, Undecided
from streamgen_edge.auth.claims import BadToken, grant_of
from streamgen_edge.auth.jwks import AGAIN_S, FRESH_S, STALE_S, Jwks, file_of_keys
from streamgen_edge.auth.keyset import KeySet
from streamgen_edge.auth.settings import Auth, Jwt
from streamgen_edge.auth.tokens import Tokens

HERE = "live.example.org"
ONE, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
RSA = rsa.generate_private_key(65537, 2048)
RIGHTS = [{"streams": ["cam-*"], "actions": ["publish"]}]


def public(key: Any, kid: str | None, **changes: Any) -> dict[str, Any]:
    kind = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    value = {**json.loads(kind.to_jwk(key.public_key())), **changes}
    return value if kid is None else {**value, "kid": kid}


def document(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def signed(
    key: Any = ONE, *, algorithm: str = "ES256", kid: str | None = "one", **claims: Any
) -> str:
    said = {"aud": HERE, "exp": time.time() + 60, "streamgen": RIGHTS, **claims}
    said = {name: value for name, value in said.items() if value is not None}
    headers = None if kid is None else {"kid": kid}
    return str(jwt.encode(said, key, algorithm, headers=headers))


class Signer:
    """A service whose keys can be changed and fail."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked = 0
        self.now_s = 1000.0
        self.fails = False

    async def fetch(self) -> bytes:
        self.asked += 1
        if self.fails:
            raise Undecided("it does not answer")
        return self.data

    def keys(self) -> Jwks:
        return Jwks(self.fetch, lambda: self.now_s)


def tokens(*algorithms: Any, signer: Signer | None = None, issuer: str | None = None) -> Tokens:
    known = document(public(ONE, "one"), public(RSA, "rsa"))
    settings = Jwt(
        jwks="keys.json", audience=HERE, issuer=issuer, algorithms=algorithms or ("ES256",)
    )
    return Tokens(settings, (signer or Signer(known)).keys(), time.time)


def refused(token: str, believer: Tokens | None = None) -> str:
    with pytest.raises(BadToken) as caught:
        asyncio.run((believer or tokens("ES256", "RS256")).grant(token))
    assert token[-20:] not in str(caught.value)
    return str(caught.value)


def test_a_signed_token_allows_what_it_says_and_nothing_else() -> None:
    grant = asyncio.run(tokens().grant(signed()))
    assert grant.allows(Scope.PUBLISH, "cam-1")
    assert not grant.allows(Scope.PUBLISH, "other") and not grant.allows(Scope.PLAY, "cam-1")
    assert not grant.allows(Scope.ADMIN, "")
    everything = [{"streams": ["*"], "actions": ["admin"]}]
    grant = asyncio.run(tokens().grant(signed(streamgen=everything)))
    assert grant.allows(Scope.ADMIN, "")
    assert not grant.allows(Scope.PUBLISH, "a") and not grant.allows(Scope.PLAY, "a")


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None}, {"exp": 1}, {"exp": "soon"}, {"exp": float("inf")}, {"exp": True},
        {"aud": None}, {"aud": "elsewhere"}, {"aud": [1]}, {"nbf": 4e9},
        {"streamgen": None}, {"streamgen": {}}, {"streamgen": [{"actions": ["all"]}]},
        {"streamgen": [{"streams": ["../x"], "actions": ["play"]}]},
        {"streamgen": [{"streams": "*", "actions": ["play"]}]},
    ],
)  # fmt: skip
def test_a_token_that_lacks_something_is_refused(changes: dict[str, Any]) -> None:
    refused(signed(**changes))


def test_an_issuer_that_is_wanted_must_be_named() -> None:
    believer = tokens(issuer="https://id.example")
    assert asyncio.run(believer.grant(signed(iss="https://id.example")))
    refused(signed(), believer)
    refused(signed(iss="https://other.example"), believer)


def test_no_token_chooses_how_it_is_checked() -> None:
    assert asyncio.run(tokens("ES256", "RS256").grant(signed(RSA, algorithm="RS256", kid="rsa")))
    claims = {"aud": HERE, "exp": time.time() + 60, "streamgen": RIGHTS}
    refused(jwt.encode(claims, None, "none", headers={"kid": "one"}))
    pem = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    secret = b"".join(pem.splitlines()[1:-1])  # the public key as the secret of an HMAC
    forged = jwt.encode(claims, secret, "HS256", headers={"kid": "rsa"})
    assert "not on the list" in refused(forged)
    refused(signed(RSA, algorithm="RS256", kid="rsa"), tokens("ES256"))
    refused(signed(RSA, algorithm="RS256", kid="one"))  # a key of another kind
    refused(signed(OTHER))
    refused(signed(kid="unknown"))
    head = {"kid": "one", "crit": ["exp"]}
    refused(jwt.encode(claims, ONE, "ES256", headers=head))


@pytest.mark.parametrize("text", ["", "..", "a.b.c", "e30.e30.e30", "é.é.é", "x" * 9000, "[" * 99])
def test_nonsense_is_no_token(text: str) -> None:
    with pytest.raises(BadToken):
        asyncio.run(tokens().grant(text))


def test_a_changed_token_does_not_hold() -> None:
    head, body, seal = signed().split(".")
    _, other, _ = signed(streamgen=[{"actions": ["admin"]}]).split(".")
    refused(f"{head}.{other}.{seal}")
    refused(f"{head}.{body}.{seal[:-4]}AAAA")


def test_new_keys_are_found_and_old_ones_are_believed_no_longer() -> None:
    async def run() -> None:
        signer = Signer(document(public(ONE, "one")))
        believer = tokens(signer=signer)
        assert await believer.grant(signed())
        assert await believer.grant(signed()) and signer.asked == 1
        signer.data = document(public(OTHER, "two"))
        fresh = signed(OTHER, kid="two")
        with pytest.raises(BadToken):
            await believer.grant(fresh)  # strangers' names make nobody fetch again and again
        assert signer.asked == 1
        signer.now_s += AGAIN_S
        assert await believer.grant(fresh) and signer.asked == 2
        with pytest.raises(BadToken):
            await believer.grant(signed())

    asyncio.run(run())


def test_where_keys_cannot_be_had_those_of_before_serve_for_a_while() -> None:
    async def run() -> None:
        signer = Signer(document(public(ONE, "one")))
        believer = tokens(signer=signer)
        assert await believer.grant(signed())
        signer.fails = True
        signer.now_s += FRESH_S + 1
        assert await believer.grant(signed())
        signer.now_s += STALE_S
        with pytest.raises(Undecided):
            await believer.grant(signed())
        assert await Access(Auth(), believer).status(asking(Scope.PUBLISH, signed())) == 503

    asyncio.run(run())


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": 1}', b"[" * 5000, b" " * 300_000,
        document({"kty": "oct", "k": "c2VjcmV0"}),
        document(public(ONE, "one", use="enc")),
        document(public(ONE, "one", d="private")),
        document(public(ONE, "one", x="!")),
        document({"kty": "EC"}, {"kty": ["EC"]} | {"kty": "EC", "crv": 5}),
        document(public(rsa.generate_private_key(65537, 1024), "weak")),
    ],
)  # fmt: skip
def test_what_holds_no_public_key_is_no_key_set(data: bytes) -> None:
    with pytest.raises(ConfigError):
        KeySet.read(data)


def test_a_file_of_keys_is_read(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(document(public(ONE, None)))
    keys = Jwks(file_of_keys(file), time.monotonic)
    believer = Tokens(Jwt(jwks=str(file), audience=HERE), keys, time.time)
    assert asyncio.run(believer.grant(signed(kid=None)))


def asking(scope: Scope, token: str | None) -> Asking:
    return Asking(scope, "" if scope is Scope.ADMIN else "cam-1", token)


def test_no_scope_implies_another() -> None:
    auth = Auth(publish_keys={"p": "aa"}, play_keys={"v": "bb"}, admin_keys={"o": "cc"})
    access = Access(auth, None)

    def statuses(scope: Scope, *names: str) -> list[int | None]:
        shown = ("aa", "bb", "cc", "no", "", None)
        return [asyncio.run(access.status(asking(scope, one), names)) for one in shown]

    assert statuses(Scope.PUBLISH, "p") == [None, 403, 403, 403, 401, 401]
    assert statuses(Scope.PLAY, "v") == [403, None, 403, 403, 401, 401]
    assert statuses(Scope.ADMIN) == [403, 403, None, 403, 401, 401]
    assert statuses(Scope.PUBLISH) == [403, 403, 403, 403, 401, 401]


def test_keys_and_tokens_let_in_side_by_side() -> None:
    access = Access(Auth(publish_keys={"p": "aa"}), tokens())
    assert asyncio.run(access.status(asking(Scope.PUBLISH, "aa"), ("p",))) is None
    assert asyncio.run(access.status(asking(Scope.PUBLISH, signed()), ())) is None
    assert asyncio.run(access.status(asking(Scope.PLAY, signed()), ())) == 403
    assert asyncio.run(access.status(asking(Scope.ADMIN, signed()))) == 403
    assert access.guards_api and not Access(Auth(publish_keys={"p": "aa"}), None).guards_api


def test_rights_of_more_rules_than_anybody_needs_are_none() -> None:
    with pytest.raises(BadToken):
        grant_of({"streamgen": RIGHTS * 65})
