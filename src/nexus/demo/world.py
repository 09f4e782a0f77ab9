"""Who is in the demo: organizations, their people and applications, and the models these call."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Model:
    """An endpoint and model that an application calls."""

    provider: str
    model: str | None
    endpoint: str
    weight: float
    """How often it is called, beside the others of the application."""
    input_tokens: int = 0
    """Median; 0 where tokens are not what is paid for."""
    output_tokens: int = 0
    cached_fraction: float = 0.0
    reasoning_fraction: float = 0.0
    latency_ms: float = 400.0
    """Median time to the first byte; the answer's tokens come on top."""
    tokens_per_second: float = 80.0
    cost: str | None = None
    """Of a call, where the price book cannot tell."""
    instead: str | None = None
    """The provider called instead while this one is down."""


@dataclass(frozen=True)
class Way:
    """Where a model's alias leads: one of its ways."""

    alias: str
    provider: str
    model: str
    priority: int
    """The lowest is called; the next when that fails."""


@dataclass(frozen=True)
class Application:
    """A program with a key of its own."""

    name: str
    team: str
    features: tuple[str, ...]
    calls_per_day: float
    """At the beginning; it grows."""
    models: tuple[Model, ...]
    rhythm: str = "office"
    """`office`, `consumer`, `nightly` or `steady`."""
    users: tuple[str, ...] = ()
    """Members who use it; without any, end users do."""
    end_users: int = 0
    growth_per_day: float = 0.008
    alias: str | None = None
    """By which it calls its OpenAI chat models, where the gateway chooses the provider."""


@dataclass(frozen=True)
class Person:
    """A member."""

    email: str
    name: str
    role: str


@dataclass(frozen=True)
class Company:
    """An organization."""

    slug: str
    name: str
    reporting_zone: str
    utc_offset_hours: int
    """Roughly, for the rhythm of its days."""
    people: tuple[Person, ...] = ()
    applications: tuple[Application, ...] = field(default=())
    ways: tuple[Way, ...] = ()


_CHAT = "/v1/chat/completions"
_GEMINI = "/v1beta/models/{model}"
_MESSAGES = "/2010-04-01/Accounts/{AccountSid}/Messages.json"

ACME = Company(
    slug="acme-robotics",
    name="Acme Robotics",
    reporting_zone="Europe/Berlin",
    utc_offset_hours=1,
    people=(
        Person("maria.keller@acme.example", "Maria Keller", "admin"),
        Person("jonas.brandt@acme.example", "Jonas Brandt", "member"),
        Person("aylin.demir@acme.example", "Aylin Demir", "member"),
        Person("tom.okafor@acme.example", "Tom Okafor", "viewer"),
    ),
    applications=(
        Application(
            "support-assistant", "support", ("answer", "summarize", "translate"), 1500,
            (
                Model("anthropic", "claude-sonnet-4-5", "/v1/messages", 5, 2600, 320, 0.55, 0, 620, 70, instead="openai"),
                Model("anthropic", "claude-haiku-4-5", "/v1/messages", 3, 900, 140, 0.3, 0, 310, 140, instead="openai"),
                Model("openai", "gpt-4o-mini", _CHAT, 2, 1100, 180, 0.2, 0, 330, 110),
            ),
            rhythm="consumer", end_users=400, alias="support",
        ),
        Application(
            "code-review", "engineering", ("review", "explain"), 420,
            (
                Model("openai", "gpt-5", "/v1/responses", 4, 9000, 1400, 0.35, 0.6, 900, 90),
                Model("anthropic", "claude-opus-5", "/v1/messages", 2, 7500, 900, 0.4, 0, 800, 60, instead="openai"),
                Model("self-hosted", "acme-code-13b", _CHAT, 0.4, 3000, 500, 0, 0, 250, 45),
                Model("github", None, "/repos/{owner}/{repo}/issues", 3, latency_ms=140, cost="0"),
            ),
            users=("jonas.brandt@acme.example", "aylin.demir@acme.example"), growth_per_day=0.02,
        ),
        Application(
            "catalog-index", "search", ("embed", "rerank"), 700,
            (
                Model("openai", "text-embedding-3-small", "/v1/embeddings", 8, 6000, 0, 0, 0, 180),
                Model("mistral", "mistral-small-latest", _CHAT, 1, 800, 120, 0, 0, 260, 130),
            ),
            rhythm="nightly",
        ),
    ),
    ways=(
        Way("support", "openai", "gpt-4o-mini", 0),
        Way("support", "anthropic", "claude-haiku-4-5", 1),
    ),
)  # fmt: skip

GLOBEX = Company(
    slug="globex-travel",
    name="Globex Travel",
    reporting_zone="America/New_York",
    utc_offset_hours=-5,
    people=(
        Person("priya.raman@globex.example", "Priya Raman", "admin"),
        Person("leo.martin@globex.example", "Leo Martin", "member"),
        Person("sofia.rossi@globex.example", "Sofia Rossi", "viewer"),
    ),
    applications=(
        Application(
            "trip-planner", "product", ("plan", "chat", "recommend"), 900,
            (
                Model("google", "gemini-2.5-flash", f"{_GEMINI}:streamGenerateContent", 5, 1800, 420, 0.25, 0.2, 380, 160),
                Model("google", "gemini-2.5-pro", f"{_GEMINI}:generateContent", 1, 3500, 900, 0.2, 0.5, 1400, 85),
                Model("openai", "gpt-4.1-mini", _CHAT, 2, 1500, 300, 0.3, 0, 360, 100),
                Model("exa", None, "/search", 1.5, latency_ms=520, cost="0.005"),
            ),
            rhythm="consumer", end_users=900, growth_per_day=0.015, alias="planner",
        ),
        Application(
            "fraud-check", "payments", ("screen",), 500,
            (
                Model("anthropic", "claude-haiku-4-5", "/v1/messages", 3, 1300, 60, 0.6, 0, 280, 150, instead="google"),
                Model("stripe", None, "/v1/payment_intents", 4, latency_ms=310, cost="0"),
            ),
            rhythm="steady",
        ),
        Application(
            "newsletter", "marketing", ("write", "send"), 160,
            (
                Model("openai", "gpt-4o", _CHAT, 2, 1200, 700, 0, 0, 520, 75),
                Model("sendgrid", None, "/v3/mail/send", 3, latency_ms=90, cost="0.0004"),
                Model("twilio", None, _MESSAGES, 1, latency_ms=170, cost="0.0079"),
            ),
            users=("leo.martin@globex.example",), alias="openai/gpt-4o",
        ),
    ),
    ways=(
        Way("planner", "openai", "gpt-4.1-mini", 0),
        Way("planner", "anthropic", "claude-haiku-4-5", 1),
    ),
)  # fmt: skip

COMPANIES = (ACME, GLOBEX)
