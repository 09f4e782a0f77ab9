"""Fifty kinds of secrets as they stand in messages, stack traces, addresses and bodies. None was ever anybody's.

They are put together when the module is loaded, so that no scanner of repositories takes them for real ones.
"""

from __future__ import annotations

from dataclasses import dataclass

_A = "aZ3kQ9xW7mB2vN5cL8pR4tY6uH1jG0dF"
_HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_UP = "QWERTYUIOP12ASDF"


@dataclass(frozen=True)
class Planted:
    """A secret, and a text in which it stands."""

    kind: str
    secret: str
    text: str


def _bare(kind: str, secret: str) -> Planted:
    return Planted(kind, secret, f"call failed with {secret} again")


def _named(kind: str, secret: str, text: str) -> Planted:
    return Planted(kind, secret, text.replace("{}", secret))


CORPUS: tuple[Planted, ...] = (
    _bare("nexus key", "nx_" + _A[:28]),
    _bare("openai key", "sk-" + _A[:32]),
    _bare("openai project key", "sk-proj-" + _A + "_" + _A[:10]),
    _bare("anthropic key", "sk-ant-api03-" + _A + "-" + _A[:20] + "AA"),
    _bare("openrouter key", "sk-or-v1-" + _HEX),
    _bare("stripe live key", "sk_live_" + _A[:24]),
    _bare("stripe restricted key", "rk_live_" + _A[:24]),
    _bare("stripe webhook secret", "whsec_" + _A),
    _bare("github personal token", "ghp_" + _A + "abcd"),
    _bare("github fine-grained token", "github_pat_" + _A[:22] + "_" + _A + _A[:20]),
    _bare("github app token", "ghs_" + _A + "abcd"),
    _bare("gitlab token", "glpat-" + _A[:20]),
    _bare("slack bot token", "xoxb-" + "123456789012-123456789012-" + _A[:24]),
    _bare("slack app token", "xapp-1-A0123456789-" + "1234567890123-" + _HEX),
    _named("slack webhook", "T01234567/B01234567/" + _A[:24], "POST https://hooks.slack.com/services/{} failed"),
    _named("discord webhook", "1234567890123456789/" + _A + _A, "POST https://discord.com/api/webhooks/{} 404"),
    _bare("aws access key id", "AKIA" + _UP),
    _bare("aws temporary key id", "ASIA" + _UP),
    _named("aws secret key", _A + "/+" + _A[:6], "aws_secret_access_key = {}"),
    _bare("google api key", "AIza" + _A + "xyz"),
    _bare("google oauth token", "ya29." + _A + _A[:8]),
    _bare("google client secret", "GOCSPX-" + _A[:28]),
    _named("azure storage key", _A + _A + _A[:22] + "==", "DefaultEndpointsProtocol=https;AccountName=x;AccountKey={};"),
    _named("azure shared signature", _A + "%2B" + _A[:9] + "%3D", "GET https://x.blob.core.windows.net/c?sv=2024&sig={} 403"),
    _named("aws presigned signature", _HEX, "GET https://b.s3.amazonaws.com/k?X-Amz-Signature={}&X-Amz-Expires=60"),
    _bare("sendgrid key", "SG." + _A[:22] + "." + _A + _A[:11]),
    _bare("mailgun key", "key-" + _HEX[:32]),
    _named("twilio auth token", _HEX[:32], "TWILIO_AUTH_TOKEN={}"),
    _bare("npm token", "npm_" + _A + "abcd"),
    _bare("pypi token", "pypi-AgEIcHlwaS5vcmc" + _A + _A),
    _bare("hugging face token", "hf_" + _A[:32]),
    _bare("replicate token", "r8_" + _A + "abcde"),
    _bare("groq key", "gsk_" + _A + _A[:20]),
    _bare("xai key", "xai-" + _A + _A),
    _bare("perplexity key", "pplx-" + _A + _A[:16]),
    _bare("digitalocean token", "dop_v1_" + _HEX),
    _bare("shopify token", "shpat_" + _HEX[:32]),
    _bare("linear key", "lin_api_" + _A + "abcdefgh"),
    _bare("atlassian token", "ATATT3xFfGF0" + _A + _A),
    _bare("databricks token", "dapi" + _HEX[:32]),
    _bare("vault token", "hvs." + _A + _A + _A[:20]),
    _bare("telegram bot token", "123456789:AA" + _A + "x"),
    _bare("age secret key", "AGE-SECRET-KEY-1" + (_UP + _UP + _UP + _UP)[:58]),
    _bare("json web token", "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + _A),
    _named("private key", "MIIEvQIBADANBgkq" + _A, "-----BEGIN " + "PRIVATE KEY-----\n{}\n-----END " + "PRIVATE KEY-----"),
    _named("password in an address", "hunter2-" + _A[:6], "postgres://app:{}@db.internal:5432/app refused"),
    _named("bearer token", _A + "." + _A[:8], "Authorization: Bearer {} was refused"),
    _named("basic credentials", "YWxhZGRpbjpvcGVuc2VzYW1l" + "MTIz", "header Basic {} was refused"),
    _named("password assignment", "correct-horse-" + _A[:8], 'login failed: password="{}"'),
    _named("password in words", "Tr0ub4dor&3x", "connect(user='app', password='{}', port=5432)"),
    _named("cookie", _A + _A[:6], "Cookie: theme=dark; sessionid={}; lang=de"),
    _named("set-cookie", _A + _A[:10], "Set-Cookie: session={}; Path=/; HttpOnly"),
    _named("query parameter", _A[:20] + "Zq", "GET https://api.example.com/v1/x?access_token={}&page=2 401"),
    _named("oauth code", "4/0A" + _A[:30], "GET https://app.example.com/callback?code={}&state=1 400"),
    _named("x-api-key header", _A[:26], "x-api-key: {}"),
    _named("client secret in json", _A[:28], '{"client_id": "x", "client_secret": "{}"}'),
)  # fmt: skip
