"""The context manager and the decorator, for calls that no transport sees."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, TypeVar, cast

from nexus_client.ids import uuid7
from nexus_client.pipeline import Item, Record
from nexus_client.stats import Counters
from nexus_client.usage import read_answer

Function = TypeVar("Function", bound=Callable[..., Any])


class Recorder(Protocol):
    """Whoever takes records: the client."""

    counters: Counters

    def attribution(self) -> Record:
        """Return what every record of this context says about who called."""

    def put(self, item: Item) -> None:
        """Hand over a finished record, or what makes one."""


class Call:
    """One call while it lasts. Leave it by an exception and the record says so; the exception goes on.

    A generator that is closed before its end (`GeneratorExit`) has not failed: nobody wanted more of it.
    """

    def __init__(self, client: Recorder, provider: str, fields: dict[str, Any]) -> None:
        self._client = client
        self._provider = provider
        self._fields = fields
        self._answer: object = None
        self._began_ns = 0
        self._began = 0.0

    def set(self, **fields: Any) -> None:
        """Add fields of the record, such as `status_code`, `model`, `tokens` or `units`."""
        self._fields.update(fields)

    def answer(self, answer: object) -> None:
        """Read model and usage from a provider's answer: its JSON as a dictionary, or an object of its library."""
        self._answer = answer

    def __enter__(self) -> Call:
        self._began_ns = time.time_ns()
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed_ms = (time.perf_counter() - self._began) * 1e3
        if isinstance(error, GeneratorExit):
            error = None
        with self._client.counters.shield:
            self._record(error, elapsed_ms)

    async def __aenter__(self) -> Call:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _record(self, error: BaseException | None, elapsed_ms: float) -> None:
        record: dict[str, Any] = {
            "id": uuid7(self._began_ns),
            "provider": self._provider,
            "status_code": 200 if error is None else status_of(error),
            "response_time_ms": round(elapsed_ms, 3),
            **self._client.attribution(),
        }
        if error is not None:
            record["error_type"] = type(error).__name__
        tags = self._fields.get("tags")
        if tags is not None:
            self._fields["tags"] = {**record.get("tags", {}), **tags}
        record.update(self._fields)
        answer = self._answer
        if answer is None:
            self._client.put(record)
            return

        def finish() -> dict[str, Any]:
            found = read_answer(_as_document(answer))
            return {**found, **record}

        self._client.put(finish)


class Recorded:
    """A decorator: each call of the function is a call of the provider.

    A generator's call lasts until its end. An async generator is left as it is, and its call lasts no time: use `call`
    within it.
    """

    def __init__(self, client: Recorder, provider: str, fields: dict[str, Any]) -> None:
        self._client = client
        self._provider = provider
        self._fields = fields

    def _call(self) -> Call:
        return Call(self._client, self._provider, dict(self._fields))

    def __call__(self, function: Function) -> Function:
        """Return the function with each call recorded."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def later(*arguments: Any, **named: Any) -> Any:
                with self._call() as call:
                    answer = await function(*arguments, **named)
                    call.answer(answer)
                    return answer

            return cast("Function", later)

        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def streamed(*arguments: Any, **named: Any) -> Any:
                # The call is over when the last part is taken, or nobody wants more.
                with self._call():
                    return (yield from function(*arguments, **named))

            return cast("Function", streamed)

        @functools.wraps(function)
        def now(*arguments: Any, **named: Any) -> Any:
            with self._call() as call:
                answer = function(*arguments, **named)
                call.answer(answer)
                return answer

        return cast("Function", now)


def status_of(error: BaseException) -> int:
    """Return the HTTP status an exception carries, as those of most libraries do; 0 when it carries none."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status"):
            status = getattr(holder, name, None)
            if isinstance(status, int) and 100 <= status <= 999:
                return status
    return 0


def _as_document(answer: object) -> object:
    if isinstance(answer, dict):
        return answer
    for name in ("model_dump", "to_dict", "dict"):
        method = getattr(answer, name, None)
        if callable(method):
            return method()
    return None
