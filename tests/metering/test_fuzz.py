"""Whatever is sent as a question, the answer is figures or a refusal that names the field: never a failure."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.metering.conftest import Api

NAMES = [
    "from", "to", "interval", "tz", "group_by", "metrics", "exact", "format", "limit", "cursor", "errors", "unpriced",
    "provider", "model", "endpoint", "method", "region", "status_code", "key", "application", "user", "currency",
    "tag:team", "tag:", "tag:\x00", "tag:=1", "from[]", "",
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        [
            "", "2026-04-03T00:00:00Z", "2026-04-02T11:59:59.999999+05:45", "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z", "2026-04-03", "1e999", "-1", "0", "1", "true", "500", "999999999999999999",
            "00000000-0000-0000-0000-000000000007", "provider", "provider,model", "tag:team", "tag:team,tag:feature",
            "user,endpoint", "currency", "requests,distinct_users", "1m", "1h", "1d", "1w", "1mo", "Asia/Kathmandu",
            "Factory", "localtime", "posixrules", "right/UTC", "EST5EDT", "csv", "parquet", "json", "NaN", "\x00", "'; --",
            "WyIyMDI2LTA0LTAzVDEwOjAwOjAwWiIsIjAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwNyJd",
        ]
    ),
    st.text(max_size=30),
)  # fmt: skip


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    path=st.sampled_from(["summary", "series", "calls", "repricings"]),
    parameters=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6),
    start=st.sampled_from([None, "2026-04-03T07:00:00.000001Z", "2026-01-01T00:00:00Z"]),
)
async def test_no_question_fails(api: Api, path: str, parameters: list[tuple[str, str]], start: str | None) -> None:
    sent = [(name, value.encode("utf-8", "replace").decode()) for name, value in parameters]
    if start is not None:
        sent = [("from", start), *((name, value) for name, value in sent if name != "from")]
    if path == "series":
        sent = [("interval", "1h"), *((name, value) for name, value in sent if name != "interval")]

    answer = await api.http.get(f"/api/metering/{path}", params=sent, headers={"authorization": f"Bearer {api.key}"})

    assert answer.status_code in {200, 400, 422}, answer.text
    if answer.status_code != 200:
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert all(item["field"] for item in answer.json().get("errors", [{"field": "-"}]))
