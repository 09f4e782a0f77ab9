"""OpenID Connect as a relying party: discovery, the authorization code with PKCE, the identity token and its checks.

Signatures and claims are checked by `joserfc`; what it does not know of (which issuer, which nonce) is told to it here.
Requests go out through the guard that keeps them from private addresses, follow no redirect and read no more than a
megabyte. Sources: OpenID Connect Core 1.0, RFC 7636 (PKCE), RFC 9207 (issuer in the answer), RFC 9700 (best practice).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from nexus.dataplane.gateway.guard import Guard, GuardedResolver
from nexus.identity.errors import ProviderFailed

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with a public key only: a secret that both sides know proves nothing here, and `none` less."""
SCOPES = "openid email profile"
LEEWAY_SECONDS = 60
OLDEST_SECONDS = 600
_TIMEOUT = aiohttp.ClientTimeout(total=10)
_MAX_BYTES = 1_048_576
_DISCOVERY_AGE = timedelta(minutes=10)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Metadata(msgspec.Struct):
    """What a provider publishes of itself, as far as it is needed."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: list[str] | None = None


class Identity(msgspec.Struct, frozen=True):
    """Whom a provider vouches for."""

    subject: str
    email: str | None
    is_email_verified: bool
    name: str
    has_second_factor: bool


def check_url(url: str, *, private: bool) -> str:
    """Return an address that may be asked: HTTPS, or plain HTTP to this very machine where that is allowed."""
    parts = urlsplit(url)
    plain = parts.scheme == "http" and private and (parts.hostname or "") in _LOOPBACK
    if not parts.hostname or parts.username or parts.fragment or not (parts.scheme == "https" or plain):
        raise ProviderFailed("the provider names an address that is not https")
    return url


def challenge_of(verifier: str) -> str:
    """Return the PKCE challenge (S256) of a verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


class Provider:
    """One provider, with what it published lately. `private` lets its own host, and no other, be a private address."""

    def __init__(self, issuer: str, client_id: str, client_secret: str | None, *, private: bool) -> None:
        self.issuer = issuer
        self.client_id = client_id
        self._secret = client_secret
        self._private = private
        parts = urlsplit(check_url(issuer, private=private))
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self._guard = Guard([f"{parts.hostname}:{port}"] if private else [])
        self._metadata: tuple[Metadata, datetime] | None = None
        self._keys: tuple[KeySet, datetime] | None = None

    async def _fetch(self, method: str, url: str, **options: Any) -> bytes:
        check_url(url, private=self._private)
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if not self._guard.allows_literal(parts.hostname or "", port):
            raise ProviderFailed("the provider is at a private address, which is not allowed for it")
        connector = aiohttp.TCPConnector(resolver=GuardedResolver(self._guard))
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session,
                session.request(method, url, allow_redirects=False, **options) as answer,
            ):
                body = await answer.content.read(_MAX_BYTES + 1)
                while len(body) <= _MAX_BYTES and (part := await answer.content.read(_MAX_BYTES + 1 - len(body))):
                    body += part
                if answer.status != 200 or len(body) > _MAX_BYTES:
                    raise ProviderFailed(f"the provider answered with status {answer.status}")
                return body
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ProviderFailed(f"the provider cannot be reached ({type(error).__name__})") from error

    async def metadata(self, at: datetime) -> Metadata:
        """Return what the provider publishes; asked for anew after ten minutes."""
        if self._metadata is not None and at - self._metadata[1] < _DISCOVERY_AGE:
            return self._metadata[0]
        body = await self._fetch("GET", self.issuer.rstrip("/") + "/.well-known/openid-configuration")
        try:
            found = msgspec.json.decode(body, type=Metadata)
        except msgspec.MsgspecError as error:
            raise ProviderFailed("the provider's description cannot be read") from error
        if found.issuer != self.issuer:
            raise ProviderFailed("the provider calls itself by another name than the configured issuer")
        check_url(found.authorization_endpoint, private=self._private)
        self._metadata = (found, at)
        return found

    async def authorization_url(self, *, redirect_uri: str, state: str, nonce: str, verifier: str, at: datetime) -> str:
        """Return where the browser is to go."""
        endpoint = (await self.metadata(at)).authorization_endpoint
        query = urlencode(
            {
                "response_type": "code", "client_id": self.client_id, "redirect_uri": redirect_uri, "scope": SCOPES,
                "state": state, "nonce": nonce, "code_challenge": challenge_of(verifier),
                "code_challenge_method": "S256",
            }
        )  # fmt: skip
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{query}"

    async def redeem(self, *, code: str, redirect_uri: str, verifier: str, nonce: str, at: datetime) -> Identity:
        """Exchange a code for whom the provider vouches; `ProviderFailed` where anything does not fit."""
        metadata = await self.metadata(at)
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri,
            "code_verifier": verifier, "client_id": self.client_id,
        }  # fmt: skip
        headers = {"accept": "application/json"}
        if self._secret is not None:
            if "client_secret_basic" in (metadata.token_endpoint_auth_methods_supported or ["client_secret_basic"]):
                pair = f"{quote(self.client_id, safe='')}:{quote(self._secret, safe='')}".encode()
                headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
            else:
                form["client_secret"] = self._secret
        tokens = _document(await self._fetch("POST", metadata.token_endpoint, data=form, headers=headers))
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(id_token, str):
            raise ProviderFailed("the provider sent no identity token")
        claims = await self._claims(id_token, nonce, at)
        more: Mapping[str, Any] = {}
        if "email" not in claims and metadata.userinfo_endpoint and isinstance(access_token, str):
            headers = {"authorization": f"Bearer {access_token}", "accept": "application/json"}
            more = _document(await self._fetch("GET", metadata.userinfo_endpoint, headers=headers))
            if more.get("sub") != claims["sub"]:
                raise ProviderFailed("the provider speaks of two people")
        return _identity(claims, more)

    async def _claims(self, id_token: str, nonce: str, at: datetime) -> dict[str, Any]:
        metadata = await self.metadata(at)
        for fresh in (False, True):
            keys = await self._key_set(metadata, at, fresh=fresh)
            try:
                token = jwt.decode(id_token, keys, algorithms=list(ALGORITHMS))
                break
            except (JoseError, ValueError) as error:
                # A key the provider has brought into use since: ask for its keys once more, then give up.
                if fresh:
                    raise ProviderFailed("the identity token's signature does not hold") from error
        registry = jwt.JWTClaimsRegistry(
            now=int(at.timestamp()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        claims: dict[str, Any] = dict(token.claims)
        try:
            registry.validate(claims)
        except JoseError as error:
            raise ProviderFailed(f"the identity token does not hold: {error.error}") from error
        audience = claims["aud"]
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != self.client_id:
            raise ProviderFailed("the identity token is for somebody else")
        if not 1 <= len(claims["sub"]) <= 255 or at.timestamp() - claims["iat"] > OLDEST_SECONDS:
            raise ProviderFailed("the identity token is too old, or names nobody")
        return claims

    async def _key_set(self, metadata: Metadata, at: datetime, *, fresh: bool) -> KeySet:
        if self._keys is not None and not fresh and at - self._keys[1] < _DISCOVERY_AGE:
            return self._keys[0]
        document = _document(await self._fetch("GET", metadata.jwks_uri))
        try:
            keys = KeySet.import_key_set({"keys": list(document["keys"])})
        except (JoseError, KeyError, TypeError, ValueError) as error:
            raise ProviderFailed("the provider's keys cannot be read") from error
        self._keys = (keys, at)
        return keys


def _document(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ProviderFailed("the provider's answer cannot be read") from error


def _identity(claims: Mapping[str, Any], more: Mapping[str, Any]) -> Identity:
    found = {**more, **claims}
    email, name, methods = found.get("email"), found.get("name"), claims.get("amr")
    return Identity(
        subject=claims["sub"],
        email=email if isinstance(email, str) and len(email) <= 320 and "\x00" not in email else None,
        is_email_verified=found.get("email_verified") is True,
        name=name.replace("\x00", "")[:200] if isinstance(name, str) else "",
        has_second_factor=isinstance(methods, list)
        and bool({"mfa", "otp", "hwk", "swk", "fpt"} & set(map(str, methods))),
    )
