"""Group commit: together stored, together acknowledged; nothing lost, doubled, or dropped in silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from nexus.contracts.calls import CALL_COLUMNS
from nexus.dataplane.ingest import drain, rows
from nexus.dataplane.ingest.drain import Drain
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.dataplane.ingest.record_types import API_CALL
from nexus.dataplane.ingest.segments import Frame
from nexus.dataplane.ingest.spool import Spool
from nexus.dataplane.ingest.writer import MAX_POISONED, QueueFull, ShareFull, Stopping, Writer
from tests.dataplane.ingest.stores import MemoryStore

ORGANIZATION = UUID(int=1)


def row(number: int, organization_id: UUID = ORGANIZATION, text: str = "x") -> bytes:
    """A row that is told apart by its number."""
    identity = rows.pack_identity(16, organization_id.bytes, 16, number.to_bytes(16, "big"), 8, 0, 1, 0, 8, 0, 8, 0)
    return identity + rows.text(text) * (len(CALL_COLUMNS) - 7)


class House:
    """A writer with its store, spool and drain."""

    def __init__(self, folder: Path, **limits: int) -> None:
        self.store = MemoryStore()
        self.registry = CollectorRegistry()
        self.metrics = IngestMetrics(self.registry)
        self.spool = Spool(folder, limit_bytes=limits.pop("limit_bytes", 2**30))
        self.stored: list[tuple[UUID, int]] = []
        options = {"batch_rows": 100, "batch_delay_ms": 1, "queue_rows": 1_000} | limits
        self.writer = Writer(
            self.store,
            self.spool,
            self.metrics,
            on_stored=lambda who, count: self.stored.append((who, count)),
            **options,
        )
        self.drain = Drain(self.writer, self.store, self.spool, self.metrics, batch_rows=options["batch_rows"])
        self.writer.start()

    def value(self, name: str, **labels: str) -> float:
        """A counter's value."""
        return self.registry.get_sample_value(f"nexus_ingest_{name}", labels) or 0.0

    def numbers(self) -> list[int]:
        """The numbers of the stored rows."""
        return sorted(int.from_bytes(key[1], "big") for key in self.store.rows)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., House]]:
    houses: list[House] = []

    def build(**limits: int) -> House:
        houses.append(House(tmp_path / "spool", **limits))
        return houses[-1]

    yield build
    for house in houses:
        if house.store.gate is not None:
            house.store.gate.set()
        await house.writer.stop()


async def test_waiting_batches_are_committed_together_and_told_apart(make: Callable[..., House]) -> None:
    house = make()
    house.store.gate = asyncio.Event()
    first = asyncio.create_task(house.writer.submit(API_CALL, ORGANIZATION, [row(0)], {0}))
    await house.store.waiting.wait()

    others = [
        asyncio.create_task(house.writer.submit(API_CALL, ORGANIZATION, [row(n), row(n + 1)], {0}))
        for n in range(1, 20, 2)
    ]
    again = asyncio.create_task(house.writer.submit(API_CALL, ORGANIZATION, [row(3), row(50), row(50)], {0}))
    await asyncio.sleep(0)
    house.store.gate.set()
    outcomes = await asyncio.gather(first, *others)

    assert {outcome.durability for outcome in outcomes} == {"committed"}
    assert sum(outcome.duplicates for outcome in outcomes) == 0
    assert (await again).duplicates == 2
    assert house.store.commits == [1, 23]
    assert house.numbers() == [*range(21), 50]
    assert house.value("records_stored_total") == 22
    assert house.value("records_duplicate_total") == 2


async def test_commit_closes_at_its_number_of_rows(make: Callable[..., House]) -> None:
    house = make(batch_rows=10)
    house.store.gate = asyncio.Event()
    tasks = [
        asyncio.create_task(house.writer.submit(API_CALL, ORGANIZATION, [row(n * 4 + k) for k in range(4)], {0}))
        for n in range(5)
    ]
    await house.store.waiting.wait()
    house.store.gate.set()
    await asyncio.gather(*tasks)

    assert all(count <= 10 for count in house.store.commits)
    assert sum(house.store.commits) == 20


async def test_batch_larger_than_a_commit_is_stored_alone(make: Callable[..., House]) -> None:
    house = make(batch_rows=10)

    outcome = await house.writer.submit(API_CALL, ORGANIZATION, [row(n) for n in range(35)], {0})

    assert outcome.durability == "committed"
    assert house.store.commits == [35]


async def test_two_organizations_in_one_commit_are_kept_apart(make: Callable[..., House]) -> None:
    house = make()
    other = uuid4()
    house.store.gate = asyncio.Event()
    tasks = [
        asyncio.create_task(house.writer.submit(API_CALL, who, [row(1, who), row(2, who)], {0}))
        for who in (ORGANIZATION, other)
    ]
    await house.store.waiting.wait()
    house.store.gate.set()
    outcomes = await asyncio.gather(*tasks)

    assert [outcome.duplicates for outcome in outcomes] == [0, 0]
    assert len(house.store.rows) == 4
    assert sorted(house.stored, key=str) == sorted([(ORGANIZATION, 2), (other, 2)], key=str)


async def test_full_queue_turns_away_and_counts_it(make: Callable[..., House]) -> None:
    house = make(queue_rows=10, batch_rows=1)
    house.store.gate = asyncio.Event()
    waiting = [
        asyncio.create_task(house.writer.submit(API_CALL, uuid4(), [row(n), row(n + 100)], {0})) for n in range(5)
    ]
    await house.store.waiting.wait()

    with pytest.raises(QueueFull) as caught:
        await house.writer.submit(API_CALL, uuid4(), [row(7)], {0})

    assert caught.value.status == 503
    assert caught.value.retry_after_seconds == 1
    assert house.value("requests_turned_away_total", reason="queue_full") == 1
    for task in waiting:
        task.cancel()


async def test_one_organization_cannot_take_the_whole_queue(make: Callable[..., House]) -> None:
    house = make(queue_rows=10)
    house.store.gate = asyncio.Event()
    first = asyncio.create_task(house.writer.submit(API_CALL, ORGANIZATION, [row(n) for n in range(7)], {0}))
    await house.store.waiting.wait()

    with pytest.raises(ShareFull) as caught:
        await house.writer.submit(API_CALL, ORGANIZATION, [row(8), row(9)], {0})
    other = uuid4()
    neighbour = asyncio.create_task(house.writer.submit(API_CALL, other, [row(1, other)], {0}))
    house.store.gate.set()

    assert caught.value.status == 429
    assert caught.value.retry_after_seconds == 1
    assert (await first).durability == "committed"
    assert (await neighbour).durability == "committed"


async def test_poisoned_rows_are_refused_by_index_and_neighbours_stored(make: Callable[..., House]) -> None:
    house = make()
    house.store.is_poisoned = lambda item: int.from_bytes(item[24:40], "big") in {3, 17}
    house.store.gate = asyncio.Event()
    good = asyncio.create_task(house.writer.submit(API_CALL, ORGANIZATION, [row(n) for n in range(100, 110)], {0}))
    bad = asyncio.create_task(house.writer.submit(API_CALL, ORGANIZATION, [row(n) for n in range(20)] + [row(5)], {0}))
    await house.store.waiting.wait()
    house.store.gate.set()

    outcome = await bad

    assert (await good).poisoned == {}
    assert sorted(outcome.poisoned) == [3, 17]
    assert all("bad row" in reason for reason in outcome.poisoned.values())
    assert outcome.duplicates == 1
    assert house.numbers() == [n for n in [*range(20), *range(100, 110)] if n not in {3, 17}]
    assert house.value("records_poisoned_total") == 2


async def test_search_for_poisoned_rows_ends(make: Callable[..., House]) -> None:
    house = make(batch_rows=2_000, queue_rows=5_000)
    house.store.is_poisoned = lambda item: True

    outcome = await house.writer.submit(API_CALL, ORGANIZATION, [row(n) for n in range(1_000)], {0})

    assert sorted(outcome.poisoned) == list(range(1_000))
    assert house.value("records_poisoned_total") == MAX_POISONED


async def test_away_database_means_the_spool_and_back_means_drained_once(make: Callable[..., House]) -> None:
    house = make()
    house.store.is_away = True
    spooled = await house.writer.submit(API_CALL, ORGANIZATION, [row(1), row(2)], {0})
    again = await house.writer.submit(API_CALL, ORGANIZATION, [row(2), row(3)], {0})

    assert (spooled.durability, again.durability) == ("spooled", "spooled")
    assert house.writer.is_away
    assert await house.drain.run_once() is False
    assert house.value("spooling") == 1
    house.store.is_away = False
    assert await house.drain.run_once() is True

    assert house.numbers() == [1, 2, 3]
    assert house.spool.is_empty()
    assert house.value("records_spooled_total") == 4
    assert house.value("records_drained_total") == 4
    assert house.value("spooling") == 0
    assert (await house.writer.submit(API_CALL, ORGANIZATION, [row(3)], {0})).duplicates == 1


async def test_commit_of_unknown_outcome_is_stored_exactly_once(make: Callable[..., House]) -> None:
    house = make()
    house.store.loses_answer = True

    outcome = await house.writer.submit(API_CALL, ORGANIZATION, [row(1), row(2)], {0})
    house.store.loses_answer = False
    await house.drain.run_once()

    assert outcome.durability == "spooled"
    assert house.numbers() == [1, 2]
    assert house.spool.is_empty()


async def test_draining_goes_on_after_a_failure_nobody_foresaw(
    make: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "_FIRST_WAIT_SECONDS", 0.01)
    house = make()
    times = 0
    again = asyncio.Event()

    async def run_once() -> bool:
        nonlocal times
        times += 1
        if times == 1:
            raise RuntimeError("unforeseen")
        again.set()
        return True

    monkeypatch.setattr(house.drain, "run_once", run_once)
    house.drain.start()
    async with asyncio.timeout(10):
        await again.wait()
    await house.drain.stop()


async def test_trouble_while_draining_keeps_the_segment(make: Callable[..., House]) -> None:
    house = make()
    house.spool.append(API_CALL, [Frame(ORGANIZATION.bytes, [0], [row(1)])])
    house.store.loses_answer = True

    assert await house.drain.run_once() is False
    assert not house.spool.is_empty()
    house.store.loses_answer = False
    assert await house.drain.run_once() is True
    assert house.spool.is_empty()
    assert house.numbers() == [1]


async def test_full_spool_is_told_to_the_caller(make: Callable[..., House]) -> None:
    from nexus.dataplane.ingest.spool import SpoolFull

    house = make(limit_bytes=100)
    house.store.is_away = True

    with pytest.raises(SpoolFull) as caught:
        await house.writer.submit(API_CALL, ORGANIZATION, [row(1)], {0})

    assert caught.value.status == 503
    assert house.value("requests_turned_away_total", reason="spool_full") == 1
    assert house.writer.waiting_rows == 0


async def test_spooled_row_that_is_refused_later_is_kept_in_quarantine(make: Callable[..., House]) -> None:
    house = make()
    house.spool.append(API_CALL, [Frame(ORGANIZATION.bytes, [0], [row(n) for n in range(4)])])
    house.store.is_poisoned = lambda item: int.from_bytes(item[24:40], "big") == 2

    await house.drain.run_once()
    (kept,) = (house.spool.folder / "quarantine").iterdir()

    assert house.numbers() == [0, 1, 3]
    assert house.value("records_quarantined_total") == 1
    assert house.spool.is_empty()
    # What is kept is a segment: moved back it is tried again.
    kept.rename(house.spool.folder / kept.name)
    house.store.is_poisoned = lambda item: False
    await house.drain.run_once()
    assert house.numbers() == [0, 1, 2, 3]


async def test_damaged_frame_is_kept_in_quarantine_and_its_neighbours_stored(make: Callable[..., House]) -> None:
    house = make()
    for number in range(3):
        house.spool.append(API_CALL, [Frame(ORGANIZATION.bytes, [0], [row(number)])])
    house.spool.seal()
    (path,) = house.spool.folder.glob("*.spool")
    content = bytearray(path.read_bytes())
    content[content.index(row(1)) + 30] ^= 0xFF
    path.write_bytes(bytes(content))

    await house.drain.run_once()

    assert house.numbers() == [0, 2]
    assert house.value("spool_damages_total") == 1
    assert house.spool.quarantine_bytes() > len(row(1))


async def test_rows_of_an_older_release_are_rearranged(make: Callable[..., House]) -> None:
    from nexus.dataplane.ingest.segments import encode_frame, encode_preamble

    house = make()
    columns = [name for name in CALL_COLUMNS if name not in {"region", "tags"}] + ["dropped"]
    parts = {name: b"%d" % place for place, name in enumerate(columns)}
    parts |= {"organization_id": ORGANIZATION.bytes, "id": (9).to_bytes(16, "big")}
    old = b"".join(len(parts[name]).to_bytes(4, "big") + parts[name] for name in columns[1:])
    house.spool.folder.mkdir(parents=True)
    content = encode_preamble(columns, created_at_us=0, process_id=1) + encode_frame(
        Frame(ORGANIZATION.bytes, [0], [old])
    )
    (house.spool.folder / "1.spool").write_bytes(content)

    await house.drain.run_once()
    (stored,) = house.store.rows.values()
    fields = dict(zip(CALL_COLUMNS[1:], rows.split_fields(stored), strict=True))

    assert fields["region"] == b""
    assert fields["tags"] is None
    assert fields["model"] == parts["model"]
    assert fields["response_headers"] == parts["response_headers"]


async def test_stop_settles_what_waits_and_refuses_what_comes(make: Callable[..., House]) -> None:
    house = make()
    house.store.gate = asyncio.Event()
    waiting = [asyncio.create_task(house.writer.submit(API_CALL, ORGANIZATION, [row(n)], {0})) for n in range(5)]
    await house.store.waiting.wait()
    stopping = asyncio.create_task(house.writer.stop())
    await asyncio.sleep(0)

    with pytest.raises(Stopping):
        await house.writer.submit(API_CALL, ORGANIZATION, [row(9)], {0})
    house.store.gate.set()
    await stopping

    assert {(await task).durability for task in waiting} == {"committed"}
    assert house.numbers() == [0, 1, 2, 3, 4]


async def test_caller_that_hangs_up_does_not_take_its_rows_back(make: Callable[..., House]) -> None:
    house = make()
    house.store.gate = asyncio.Event()
    task = asyncio.create_task(house.writer.submit(API_CALL, ORGANIZATION, [row(1)], {0}))
    await house.store.waiting.wait()
    task.cancel()
    house.store.gate.set()
    await house.writer.submit(API_CALL, ORGANIZATION, [row(2)], {0})

    assert house.numbers() == [1, 2]
    assert house.writer.waiting_rows == 0


async def test_unforeseen_error_is_told_and_the_writer_goes_on(make: Callable[..., House]) -> None:
    from nexus.kit.errors import Unavailable

    house = make()

    def fail(item: bytes) -> bool:
        raise RuntimeError("a fault of ours")

    house.store.is_poisoned = fail
    with pytest.raises(Unavailable):
        await house.writer.submit(API_CALL, ORGANIZATION, [row(1)], {0})
    house.store.is_poisoned = lambda item: False

    assert (await house.writer.submit(API_CALL, ORGANIZATION, [row(1)], {0})).durability == "committed"


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["send", "send", "send", "away", "back", "lose", "drain"]),
            st.lists(st.integers(0, 30), min_size=1, max_size=8),
        ),
        max_size=25,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_acknowledged_row_is_stored_exactly_once_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[int]]]
) -> None:
    house = House(tmp_path_factory.mktemp("spool"), batch_rows=10)
    acknowledged: set[int] = set()
    for action, sent in steps:
        if action == "send":
            await house.writer.submit(API_CALL, ORGANIZATION, [row(number) for number in sent], {0})
            acknowledged |= set(sent)
        elif action == "drain":
            await house.drain.run_once()
        else:
            house.store.is_away = action == "away"
            house.store.loses_answer = action == "lose"
    house.store.is_away = house.store.loses_answer = False
    while not await house.drain.run_once():
        pass
    await house.writer.stop()

    assert house.numbers() == sorted(acknowledged)
    assert house.spool.is_empty()
