"""Fans announcements of stored calls out to the viewers of a process, each organization's to its own viewers only."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from uuid import UUID

import msgspec
import redis.asyncio as redis_client
import redis.exceptions
import structlog

from nexus.contracts.redis_keys import live_channel
from nexus.kit.clock import Clock
from nexus.kit.errors import TooManyRequests
from nexus.platform.db import DATABASE_TROUBLE

HEARTBEAT_SECONDS = 15.0
"""How often a quiet stream shows that it lives, and is asked whether it still may."""
CHECK_SECONDS = 1.0
"""How often changes of keys and memberships are looked for while somebody watches."""
RECONNECT_SECONDS = 1.0
UNSURE_SECONDS = 60.0
"""How long a stream goes on while nobody can say whether it may. Longer would be wrong: sessions and keys end by time, too."""
QUIET_SECONDS = 10.0
"""How long to wait for one message before waiting again; the client's own timeout is for commands."""
MAX_VIEWERS = 5_000
"""Streams that one process holds open."""

log = structlog.get_logger("nexus.live")
StillAllowed = Callable[[], Awaitable[bool]]
VersionOf = Callable[[], Awaitable[int]]
Confirm = Callable[[UUID, Collection[bytes]], Awaitable[Collection[bytes]]]
"""Tells which of many sessions, by the hashes of their tokens, may still look at an organization."""


class TooManyViewers(TooManyRequests):
    """This process holds as many live streams as it can: try again, or ask at intervals."""

    code = "too_many_viewers"


class Announcement(msgspec.Struct):
    """What is announced: how many calls were stored since the last message, and when."""

    stored: int
    at: str


@dataclass(eq=False, slots=True)
class Viewer:
    """One open stream. Announcements that it has not taken yet are added up, so a slow viewer holds no queue.

    There are thousands in a process, so each waits by one future, without a task or an event of its own.
    """

    organization_id: UUID
    still_allowed: StillAllowed
    credential: object
    """Viewers of one credential are asked together whether they still may."""
    sure_at: float
    """When it was last known that it may, on the hub's monotonic clock."""
    pending: Announcement | None = None
    must_check: bool = False
    session: bytes | None = None
    """The hash of its session's token, where a person looks; asked about together with many others."""
    is_gone: bool = False
    _waiting: asyncio.Future[bool] | None = None

    def add(self, announcement: Announcement) -> None:
        """Take an announcement in."""
        stored = announcement.stored + (self.pending.stored if self.pending else 0)
        self.pending = Announcement(stored, announcement.at)
        self._wake()

    def check(self) -> None:
        """Have the stream asked whether it still may."""
        self.must_check = True
        self._wake()

    def leave(self) -> None:
        """End the stream: nobody looks any more."""
        self.is_gone = True
        self._wake()

    async def wait(self, seconds: float) -> bool:
        """Wait until there is something to do; False when nothing came for so long."""
        if self.pending is not None or self.must_check or self.is_gone:
            return True
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        timer = loop.call_later(seconds, self._wake, False)
        try:
            return await self._waiting
        finally:
            timer.cancel()
            self._waiting = None

    def _wake(self, has_something: bool = True) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(has_something)


class LiveHub:
    """All viewers of one process, on one subscription. It works while somebody watches."""

    def __init__(
        self,
        redis: redis_client.Redis | None,
        version_of: VersionOf,
        clock: Clock,
        confirm: Confirm | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._redis = redis
        self._version_of = version_of
        self._confirm = confirm
        self._is_asking = False
        self._clock = clock
        self._viewers: dict[UUID, set[Viewer]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._pubsub: redis_client.client.PubSub | None = None
        self._asked = 0
        """How often all viewers were asked whether they still may."""
        self._checks: dict[tuple[object, int], asyncio.Future[bool]] = {}
        self._is_ending = False

    @property
    def viewers(self) -> int:
        """How many streams are open."""
        return sum(len(group) for group in self._viewers.values())

    def viewer(
        self,
        organization_id: UUID,
        still_allowed: StillAllowed,
        credential: object = None,
        session: bytes | None = None,
    ) -> Viewer:
        """Make a viewer to `watch` by; `TooManyViewers` when this process holds as many as it can."""
        if self.viewers >= MAX_VIEWERS:
            raise TooManyViewers(retry_after_seconds=30)
        asked_by = still_allowed if credential is None else credential
        # One that comes while all are being asked may have been let in by what held before.
        return Viewer(
            organization_id, still_allowed, asked_by, self._monotonic(), must_check=self._is_asking, session=session
        )

    async def watch(self, viewer: Viewer) -> AsyncIterator[Announcement | None]:
        """Yield announcements for a viewer, None as a sign of life; ends when it left or, with `is_gone` unset, may no more.

        While the database cannot say whether it may, it goes on for `UNSURE_SECONDS`. What else asking raises ends it.
        """
        await self._enter(viewer)
        try:
            yield None
            while True:
                quiet = not await viewer.wait(HEARTBEAT_SECONDS)
                if viewer.is_gone:
                    return
                if quiet or viewer.must_check:
                    viewer.must_check = False
                    if not await self._may(viewer):
                        return
                pending, viewer.pending = viewer.pending, None
                if pending is not None or quiet:
                    yield pending
        finally:
            await self._leave(viewer)

    def end(self) -> None:
        """End all streams, and each that begins from now on: the process stops, and viewers go to another one."""
        self._is_ending = True
        for group in self._viewers.values():
            for viewer in group:
                viewer.leave()

    async def _may(self, viewer: Viewer) -> bool:
        """Ask whether a viewer still may, once for all of its credential that were told to ask by the same change."""
        question = viewer.credential, self._asked
        answer = self._checks.get(question)
        if answer is None:
            answer = self._checks[question] = asyncio.ensure_future(viewer.still_allowed())
            answer.add_done_callback(lambda _: self._checks.pop(question, None))
        try:
            # A viewer that leaves meanwhile must not take the answer from the others.
            may = await asyncio.shield(answer)
        except DATABASE_TROUBLE as error:
            log.debug("cannot ask whether a viewer still may", error=type(error).__name__)
            return self._monotonic() - viewer.sure_at < UNSURE_SECONDS
        viewer.sure_at = self._monotonic()
        return may

    async def _enter(self, viewer: Viewer) -> None:
        viewer.is_gone = viewer.is_gone or self._is_ending
        group = self._viewers.setdefault(viewer.organization_id, set())
        group.add(viewer)
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._watch_keys(), name="live.keys")]
            if self._redis is not None:
                self._tasks.append(asyncio.create_task(self._listen(self._redis), name="live.listen"))
        elif self._pubsub is not None:
            if len(group) > 1:
                viewer.add(self._nothing_yet())
                return
            with contextlib.suppress(redis.exceptions.RedisError, OSError):
                await self._pubsub.subscribe(live_channel(viewer.organization_id))

    async def _leave(self, viewer: Viewer) -> None:
        group = self._viewers.get(viewer.organization_id, set())
        group.discard(viewer)
        if not group:
            self._viewers.pop(viewer.organization_id, None)
            if self._pubsub is not None and self._viewers:
                with contextlib.suppress(redis.exceptions.RedisError, OSError):
                    await self._pubsub.unsubscribe(live_channel(viewer.organization_id))
        if not self._viewers:
            tasks, self._tasks, self._pubsub = self._tasks, [], None
            for task in tasks:
                task.cancel()

    def _is_wanted(self) -> bool:
        # A cancellation that comes together with a message is lost in the wait for it: who asks again ends all the same.
        return asyncio.current_task() in self._tasks

    async def _listen(self, client: redis_client.Redis) -> None:
        while self._is_wanted():
            try:
                async with client.pubsub() as pubsub:
                    first = set(self._viewers)
                    await pubsub.subscribe(*(live_channel(owner) for owner in first))
                    self._pubsub = pubsub
                    # Who came while the connection was made.
                    for owner in set(self._viewers) - first:
                        await pubsub.subscribe(live_channel(owner))
                    while self._is_wanted():
                        message = await pubsub.get_message(timeout=QUIET_SECONDS)
                        if message is not None:
                            self._deliver(message)
            except (redis.exceptions.RedisError, OSError) as error:
                log.info("live announcements interrupted", error=type(error).__name__)
            finally:
                if self._is_wanted():
                    self._pubsub = None
            await asyncio.sleep(RECONNECT_SECONDS)

    def _deliver(self, message: dict[str, object]) -> None:
        channel = message.get("channel")
        name = channel.decode() if isinstance(channel, bytes) else str(channel)
        data = message.get("data")
        try:
            owner = UUID(name.rsplit(":", 1)[-1])
            if message.get("type") == "subscribe":
                # What was announced before is not heard: everybody asks the meter once.
                announcement = self._nothing_yet()
            elif message.get("type") == "message" and isinstance(data, (bytes, str)):
                announcement = msgspec.json.decode(data, type=Announcement)
            else:
                return
        except (ValueError, msgspec.MsgspecError):
            return
        for viewer in self._viewers.get(owner, ()):
            viewer.add(announcement)

    def _nothing_yet(self) -> Announcement:
        """The first announcement of a stream: from now on nothing is missed."""
        return Announcement(0, self._clock.now().isoformat().replace("+00:00", "Z"))

    async def _ask_everybody(self) -> None:
        """Have each stream asked whether it still may, but those of sessions that one question tells it of."""
        self._is_asking = True
        try:
            for owner, group in list(self._viewers.items()):
                viewers = list(group)
                confirmed = await self._confirmed(owner, {viewer.session for viewer in viewers if viewer.session})
                for viewer in viewers:
                    if viewer.session in confirmed:
                        viewer.sure_at = self._monotonic()
                    else:
                        viewer.check()
        finally:
            self._is_asking = False

    async def _confirmed(self, owner: UUID, sessions: Collection[bytes]) -> Collection[bytes]:
        if self._confirm is None or not sessions:
            return ()
        try:
            return await self._confirm(owner, sessions)
        except DATABASE_TROUBLE as error:
            # Then each is asked by itself.
            log.debug("cannot ask about many sessions", error=type(error).__name__)
            return ()

    async def _watch_keys(self) -> None:
        known: int | None = None
        while self._is_wanted():
            try:
                version = await self._version_of()
                # The first look asks everybody, too: a key may have gone between its stream's beginning and now.
                if version != known:
                    self._asked += 1
                    await self._ask_everybody()
                known = version
            except DATABASE_TROUBLE as error:
                log.debug("cannot look for changed keys", error=type(error).__name__)
            except Exception:
                # The edge of a task that must go on looking, or a revoked key would keep its streams for longer.
                log.exception("cannot look for changed keys")
            await asyncio.sleep(CHECK_SECONDS)
