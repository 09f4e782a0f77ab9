"""The libraries of providers, as they are published, against the sandbox: their calls are in Nexus, and nothing else changes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from nexus_client import Client

from tests.races.node import ROOT, Node, free_port, until

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture
async def sandbox() -> AsyncIterator[str]:
    """Where a provider answers."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "nexus", "sandbox", "--port", str(port)])

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        await until(answers, "the sandbox answers")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


async def test_calls_of_the_libraries_are_recorded(node: Node, sandbox: str, tmp_path: Path) -> None:
    key, url = node.first_start()["access_key"], f"http://{sandbox}"
    with Client(node.url, key, application="libraries", spool_dir=tmp_path, hosts={sandbox: "openai"}) as client:
        plain = openai.OpenAI(
            base_url=f"{url}/v1", api_key="sk-test", http_client=client.watch(openai.DefaultHttpxClient())
        )
        later = openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key="sk-test", http_client=client.watch(openai.DefaultAsyncHttpxClient())
        )
        other = anthropic.Anthropic(
            base_url=url, api_key="sk-test", http_client=client.watch(anthropic.DefaultHttpxClient())
        )
        with plain, other:
            whole = plain.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
            parts = list(
                plain.chat.completions.create(
                    model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
                )
            )
            message = other.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=HELLO)
        async with later:
            response = await later.responses.create(model="gpt-5", input="Hello")
        assert client.flush(60)
        stats = client.stats

    assert (stats.recorded, stats.sent, stats.own_failures) == (4, 4, 0)
    assert whole.usage and parts[-1].usage and response.usage
    calls = (await node.ask("/api/metering/calls", application="libraries"))["items"]
    assert {call["model"]: (call["endpoint"], call["status_code"], call["tokens"]) for call in calls} == {
        "gpt-4o-mini": ("/v1/chat/completions", 200, tokens(whole.usage.prompt_tokens, whole.usage.completion_tokens)),
        "gpt-4o": (
            "/v1/chat/completions", 200, tokens(parts[-1].usage.prompt_tokens, parts[-1].usage.completion_tokens),
        ),
        "claude-haiku-4-5": ("/v1/messages", 200, tokens(message.usage.input_tokens, message.usage.output_tokens)),
        "gpt-5": ("/v1/responses", 200, tokens(response.usage.input_tokens, response.usage.output_tokens)),
    }  # fmt: skip


def tokens(asked: int, answered: int) -> dict[str, int]:
    return {"input": asked, "output": answered}


async def test_example_of_the_readme_works_as_it_stands(node: Node, sandbox: str, tmp_path: Path) -> None:
    readme = (ROOT / "sdk" / "python" / "README.md").read_text()
    found = re.search(r"## Try it.*?```python\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    program = tmp_path / "example.py"
    program.write_text(found[1].replace("127.0.0.1:8421", sandbox))

    done = subprocess.run(
        [sys.executable, str(program)],
        env={
            **os.environ,
            "NEXUS_URL": node.url,
            "NEXUS_ACCESS_KEY": node.first_start()["access_key"],
            "NEXUS_SPOOL_DIR": str(tmp_path / "spool"),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "True Stats(recorded=1, written=1, sent=1, duplicates=0, refused=0, dropped=0" in done.stdout
