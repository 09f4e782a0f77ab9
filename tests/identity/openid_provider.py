"""An OpenID Connect provider, run as a process of its own: `python -m tests.identity.openid_provider PORT`.

It speaks the protocol as real ones do: discovery, keys, the authorization code with PKCE (S256) and one use per code, client
authentication, signed identity tokens, userinfo. Its people sign in by a form whose only field is who they are. What
tests need beyond that: `POST /misbehave` makes its next tokens wrong in a named way, `POST /rotate` brings another
key into use.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import sys
import time
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "nexus", "a-secret-with/and+and%signs"
PEOPLE: dict[str, dict[str, Any]] = {
    "grace": {"email": "grace@corp.example", "email_verified": True, "name": "Grace"},
    "strong": {"email": "strong@corp.example", "email_verified": True, "name": "Strong", "amr": ["pwd", "mfa"]},
    "unverified": {"email": "unverified@corp.example", "email_verified": False},
    "stranger": {"email": "stranger@elsewhere.example", "email_verified": True},
    "takeover": {"email": "ada@example.com", "email_verified": True},
    "quiet": {},
}
USERINFO = {"quiet": {"email": "quiet@corp.example", "email_verified": True, "name": "Quiet"}}


class Server:
    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.keys = [RSAKey.generate_key(2048, {"kid": "first", "use": "sig", "alg": "RS256"})]
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, str] = {}
        self.redirect_uris: set[str] = set()
        self.fault = ""

    async def discovery(self, _: web.Request) -> web.Response:
        named = self.issuer + "/other" if self.fault == "issuer" else self.issuer
        return web.json_response(
            {
                "issuer": named,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def jwks(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})

    async def authorize(self, request: web.Request) -> web.Response:
        asked = request.query
        if asked.get("client_id") != CLIENT_ID or asked.get("redirect_uri") not in self.redirect_uris:
            return web.Response(status=400, text="unknown client or redirect address")
        if asked.get("response_type") != "code" or "openid" not in asked.get("scope", "").split():
            return web.Response(status=400, text="unsupported")
        if asked.get("code_challenge_method") != "S256" or not asked.get("state") or not asked.get("nonce"):
            return web.Response(status=400, text="PKCE, state and nonce are required here")
        if request.method == "GET":
            page = "<form method=post><input name=person></form>"
            return web.Response(text=page, content_type="text/html")
        person = str((await request.post()).get("person", ""))
        if person not in PEOPLE:
            answer = {"error": "access_denied", "state": asked["state"]}
        else:
            code = secrets.token_urlsafe(24)
            self.codes[code] = {**asked, "person": person}
            answer = {"code": code, "state": asked["state"], "iss": self.issuer}
        raise web.HTTPSeeOther(f"{asked['redirect_uri']}?{urlencode(answer)}")

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        name, _, secret = base64.b64decode(given or "").decode().partition(":")
        if scheme.lower() != "basic" or (unquote(name), unquote(secret)) != (CLIENT_ID, CLIENT_SECRET):
            return web.json_response({"error": "invalid_client"}, status=401)
        kept = self.codes.pop(str(form.get("code")), None)
        verifier = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).decode().rstrip("=")
        if (
            kept is None
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != kept["redirect_uri"]
            or challenge != kept["code_challenge"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        access_token = secrets.token_urlsafe(24)
        self.tokens[access_token] = kept["person"]
        return web.json_response(
            {"access_token": access_token, "token_type": "Bearer", "id_token": self.id_token(kept), "expires_in": 60}
        )

    def id_token(self, kept: dict[str, str]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer, "sub": f"subject-{kept['person']}", "aud": CLIENT_ID, "iat": now, "exp": now + 300,
            "nonce": kept["nonce"], **PEOPLE[kept["person"]],
        }  # fmt: skip
        wrong: dict[str, dict[str, Any]] = {
            "nonce": {"nonce": "another"}, "audience": {"aud": "somebody-else"}, "expired": {"exp": now - 120},
            "old": {"iat": now - 3600}, "token_issuer": {"iss": "https://evil.example"},
            "azp": {"aud": [CLIENT_ID, "another"], "azp": "another"},
        }  # fmt: skip
        claims |= wrong.get(self.fault, {})
        if self.fault == "none":
            parts = ({"alg": "none"}, claims)
            import json

            head, body = (base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts)
            return f"{head}.{body}."
        if self.fault == "hmac":
            # The public key as a shared secret: an old trick on libraries that let the token choose the algorithm.
            key = OctKey.import_key(self.keys[-1].as_pem(private=False))
            return jwt.encode({"alg": "HS256", "kid": self.keys[-1].kid}, claims, key)
        if self.fault == "signature":
            stranger = RSAKey.generate_key(2048, {"kid": self.keys[-1].kid})
            return jwt.encode({"alg": "RS256", "kid": stranger.kid}, claims, stranger)
        return jwt.encode({"alg": "RS256", "kid": self.keys[-1].kid}, claims, self.keys[-1])

    async def userinfo(self, request: web.Request) -> web.Response:
        person = self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if person is None:
            return web.Response(status=401)
        subject = "subject-somebody-else" if self.fault == "userinfo" else f"subject-{person}"
        return web.json_response({"sub": subject, **USERINFO.get(person, PEOPLE[person])})

    async def misbehave(self, request: web.Request) -> web.Response:
        self.fault = str((await request.json())["fault"])
        return web.Response()

    async def register(self, request: web.Request) -> web.Response:
        self.redirect_uris.add(str((await request.json())["redirect_uri"]))
        return web.Response()

    async def rotate(self, _: web.Request) -> web.Response:
        self.keys = [RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig", "alg": "RS256"})]
        KeySet(self.keys)
        return web.Response()


def main() -> None:
    port = int(sys.argv[1])
    server = Server(port)
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", server.discovery)
    app.router.add_get("/keys", server.jwks)
    app.router.add_route("*", "/authorize", server.authorize)
    app.router.add_post("/token", server.token)
    app.router.add_get("/userinfo", server.userinfo)
    app.router.add_post("/misbehave", server.misbehave)
    app.router.add_post("/register", server.register)
    app.router.add_post("/rotate", server.rotate)
    web.run_app(app, host=urlsplit(server.issuer).hostname, port=port, print=None)


if __name__ == "__main__":
    main()
