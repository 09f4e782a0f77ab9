"""Secrets of many kinds, wherever an error holds them, are in no table, no answer and no log."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest

from nexus.platform.db import Database
from tests.issues.conftest import NOW, Api, Taker, error, fold
from tests.kit.test_secret_corpus import leaks
from tests.secret_corpus import CORPUS


async def test_secret_planted_in_an_error_is_nowhere(
    take: Taker,
    api: Api,
    database: Database,
    admin_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    records = [
        error(
            NOW - timedelta(minutes=number),
            f"{planted.kind}: {planted.text}",
            error_type=planted.text[:200],
            stack_trace=f'Traceback (most recent call last):\n  File "/app/x.py", line 1, in call\nError: {planted.text}',
            context={
                "note": planted.text,
                "list": [{"deep": planted.text}],
                "as_json": f'{{"text": "{planted.kind}"}}',
            },
            tool_context={"arguments": planted.text},
            url=planted.text
            if "://" in planted.text
            else f"https://example.com/?q=1&access_token={planted.secret[:900]}",
            fingerprint=[planted.text, "{{ default }}"],
            tags={"note": planted.text[:250]},
            metadata={"note": planted.text},
            request_id=planted.text[:200],
        )
        for number, planted in enumerate(CORPUS)
    ]
    receipt = await take(*records)
    waiting = await api.issues(limit=100)
    await fold(database)
    assert (receipt.stored, len(waiting)) == (len(CORPUS), len(CORPUS))

    texts = []
    tables = await admin_connection.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('issues', 'metering', 'platform') AND c.relkind IN ('r', 'p')"
    )
    for table in tables:
        rows = await admin_connection.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table['name']} AS t")
        texts += [(table["name"], row["row"].replace('\\"', '"')) for row in rows]
    for issue in await api.issues(limit=100):
        for path in (issue["id"], f"{issue['id']}/samples"):
            texts.append((path, (await api.send("GET", path)).text))
    captured = capsys.readouterr()
    texts += [("log", caplog.text), ("out", captured.out), ("err", captured.err)]

    assert len(texts) > 3 * len(CORPUS)
    found = [(where, planted.kind) for planted in CORPUS for where, text in texts if leaks(text, planted)]
    assert found == []
