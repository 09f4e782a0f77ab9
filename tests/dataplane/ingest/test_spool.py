"""The spool: what was acknowledged is there after kill -9, after losing everything unsynced, and after a torn write."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.contracts.calls import CALL_COLUMNS
from nexus.contracts.tool_calls import TOOL_CALL_COLUMN_TYPES
from nexus.dataplane.ingest.record_types import API_CALL, TOOL_CALL
from nexus.dataplane.ingest.segments import Frame
from nexus.dataplane.ingest.spool import Disk, DiskHandle, SegmentHandle, Spool, SpoolBroken, SpoolFull

LIMIT = 2**30


def frame(number: int, size: int = 10) -> Frame:
    return Frame(number.to_bytes(16, "big"), [number], [b"%d" % number * size])


def numbers(spool: Spool, *, drop: bool = True) -> list[int]:
    """Drain the spool; the numbers of the frames it gives, in its order."""
    found: list[int] = []
    for segment in spool.adopt():
        assert not segment.damages
        found += [int.from_bytes(item.organization_id, "big") for item in segment.frames]
        if drop:
            spool.drop(segment)
        else:
            spool.release(segment)
    return found


class ForgetfulHandle:
    """A file of which a power cut leaves only what was synced, or any part of the rest."""

    def __init__(self, handle: SegmentHandle, path: Path) -> None:
        self.handle, self.path = handle, path
        self.written = self.synced = 0
        self.is_open = True

    def write(self, content: bytes) -> None:
        self.handle.write(content)
        self.written += len(content)

    def datasync(self) -> None:
        self.handle.datasync()
        self.synced = self.written

    def truncate(self, length: int) -> None:
        self.handle.truncate(length)
        self.written = length

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self.handle.close()


class ForgetfulDisk(Disk):
    """A disk that can lose what was not synced: contents of files, and names in folders."""

    def __init__(self) -> None:
        self.handles: list[ForgetfulHandle] = []
        self.synced_names: set[str] = set()

    def create(self, path: Path) -> SegmentHandle:
        handle = ForgetfulHandle(super().create(path), path)
        self.handles.append(handle)
        return handle

    def sync_folder(self, folder: Path) -> None:
        super().sync_folder(folder)
        self.synced_names = {path.name for path in folder.iterdir()}

    def cut_power(self, kept_bytes: int = 0) -> None:
        """Leave what was synced, and at most `kept_bytes` of what was not, in each file."""
        for handle in self.handles:
            handle.close()
            path = handle.path.with_suffix(".spool")
            if path.name not in self.synced_names:
                path.unlink(missing_ok=True)
            if path.exists():
                os.truncate(path, handle.synced + min(kept_bytes, handle.written - handle.synced))


def test_frames_come_back_in_order_and_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=LIMIT, segment_bytes=200)
    for number in range(20):
        spool.append(API_CALL, [frame(number)])
    spool.seal()

    assert len(list(tmp_path.glob("*.spool"))) > 3
    assert numbers(spool) == list(range(20))
    assert spool.is_empty()


def test_segment_in_use_is_left_alone_by_others(tmp_path: Path) -> None:
    writing, other = Spool(tmp_path, limit_bytes=LIMIT), Spool(tmp_path, limit_bytes=LIMIT)
    writing.append(API_CALL, [frame(1)])

    assert numbers(other) == []
    writing.seal()
    held = list(other.adopt())
    assert numbers(writing) == []
    other.release(held[0])
    assert numbers(writing) == [1]


def test_segment_drained_by_another_in_between_is_not_drained_twice(tmp_path: Path) -> None:
    first, second = Spool(tmp_path, limit_bytes=LIMIT), Spool(tmp_path, limit_bytes=LIMIT)
    first.append(API_CALL, [frame(1)])
    first.seal()
    first.append(API_CALL, [frame(2)])
    first.seal()

    adopting = second.adopt()
    segment = next(adopting)
    second.drop(segment)
    assert numbers(first) == [2]

    assert list(adopting) == []


def test_limit_refuses_and_keeps_what_is_there(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=2_000)
    taken = 0
    with pytest.raises(SpoolFull) as caught:
        for number in range(100):
            spool.append(API_CALL, [frame(number)])
            taken += 1

    assert caught.value.status == 503
    assert caught.value.retry_after_seconds
    assert 0 < taken < 100
    assert spool.size_bytes() <= 2_000
    spool.seal()
    assert numbers(spool) == list(range(taken))


def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", limit_bytes=LIMIT)
    spool.append(API_CALL, [frame(1)])

    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "spool").iterdir()} == {0o600}
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700


class FullDisk(Disk):
    """A disk that takes a number of bytes, then none, and may fail to sync."""

    def __init__(self, room_bytes: int, *, fails_to_sync: bool = False) -> None:
        self.room_bytes = room_bytes
        self.fails_to_sync = fails_to_sync

    def create(self, path: Path) -> SegmentHandle:
        return FullHandle(super().create(path), self)


class FullHandle:
    def __init__(self, handle: SegmentHandle, disk: FullDisk) -> None:
        self.handle, self.disk = handle, disk

    def write(self, content: bytes) -> None:
        part = content[: self.disk.room_bytes]
        self.handle.write(part)
        self.disk.room_bytes -= len(part)
        if len(part) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def datasync(self) -> None:
        if self.disk.fails_to_sync:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.handle.datasync()

    def truncate(self, length: int) -> None:
        self.handle.truncate(length)

    def close(self) -> None:
        self.handle.close()


@given(room=st.integers(0, 4_000))
def test_full_disk_refuses_what_does_not_fit_and_keeps_the_rest(
    tmp_path_factory: pytest.TempPathFactory, room: int
) -> None:
    disk = FullDisk(room)
    spool = Spool(tmp_path_factory.mktemp("spool"), limit_bytes=LIMIT, disk=disk)
    taken: list[int] = []
    for number in range(6):
        try:
            spool.append(API_CALL, [frame(number, size=100 * (number % 3 + 1))])
            taken.append(number)
        except SpoolBroken as error:
            assert error.status == 503
    disk.room_bytes = 10_000
    spool.append(API_CALL, [frame(99)])
    spool.seal()

    assert numbers(spool) == [*taken, 99]


def test_segment_whose_sync_failed_is_not_written_to_again(tmp_path: Path) -> None:
    disk = FullDisk(10_000)
    spool = Spool(tmp_path, limit_bytes=LIMIT, disk=disk)
    spool.append(API_CALL, [frame(1)])
    disk.fails_to_sync = True
    with pytest.raises(SpoolBroken):
        spool.append(API_CALL, [frame(2)])
    disk.fails_to_sync = False
    spool.append(API_CALL, [frame(3)])
    spool.seal()

    assert len(list(tmp_path.glob("*.spool"))) == 2
    # 2 was not acknowledged; that it is there does no harm, as ids decide.
    assert set(numbers(spool)) >= {1, 3}


@given(
    batches=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    segment_bytes=st.integers(100, 2_000),
    kept_bytes=st.integers(0, 3_000),
    unsynced=st.integers(0, 3),
)
def test_nothing_acknowledged_is_missing_when_everything_unsynced_is_lost(
    tmp_path_factory: pytest.TempPathFactory, batches: list[int], segment_bytes: int, kept_bytes: int, unsynced: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    disk = ForgetfulDisk()
    spool = Spool(folder, limit_bytes=LIMIT, segment_bytes=segment_bytes, disk=disk)
    acknowledged: list[int] = []
    for count in batches:
        first = len(acknowledged)
        spool.append(API_CALL, [frame(number) for number in range(first, first + count)])
        acknowledged += range(first, first + count)
    # What is written but not synced when the power fails was not acknowledged.
    if unsynced and (active := spool._active.get(API_CALL.name)) is not None:
        from nexus.dataplane.ingest.segments import encode_frame

        for _ in range(unsynced):
            active.handle.write(encode_frame(frame(10_000)))
    disk.cut_power(kept_bytes)

    after = Spool(folder, limit_bytes=LIMIT)
    found = [number for number in numbers(after) if number != 10_000]

    assert found == acknowledged


def test_a_sync_that_is_skipped_is_noticed_by_the_test_above(tmp_path: Path) -> None:
    class LazyHandle(ForgetfulHandle):
        def datasync(self) -> None:
            """Do nothing, as a broken spool would."""

    class LazyDisk(ForgetfulDisk):
        def create(self, path: Path) -> SegmentHandle:
            handle = LazyHandle(Disk.create(self, path), path)
            self.handles.append(handle)
            return handle

    disk = LazyDisk()
    spool = Spool(tmp_path, limit_bytes=LIMIT, disk=disk)
    spool.append(API_CALL, [frame(1)])
    disk.cut_power()

    assert numbers(Spool(tmp_path, limit_bytes=LIMIT)) == []


def test_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from nexus.dataplane.ingest.record_types import API_CALL
        from nexus.dataplane.ingest.segments import Frame
        from nexus.dataplane.ingest.spool import Spool

        spool = Spool(Path(sys.argv[1]), limit_bytes=2**30, segment_bytes=20_000)
        number = 0
        while True:
            spool.append(API_CALL, [Frame(number.to_bytes(16, "big"), [0], [b"x" * 1000])])
            print(number, flush=True)
            number += 1
        """
    )
    for round_ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert child.stdout is not None
        last = -1
        for line in child.stdout:
            last = int(line)
            if last >= 150 + 37 * round_:
                break
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        child.wait()
        acknowledged = max([last, *(int(text) for text in rest if text.isdigit())])

        found = numbers(Spool(tmp_path, limit_bytes=LIMIT))

        # One frame may be written whose acknowledgement was not printed any more.
        assert found[: acknowledged + 1] == list(range(acknowledged + 1))
        assert len(found) <= acknowledged + 2


def test_unfinished_draft_of_a_dead_process_is_cleared(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=LIMIT)
    (tmp_path / "0001-1-1.new").write_bytes(b"NXSP")
    living = Disk().create(tmp_path / "0002-1-1.new")

    spool.clear_drafts()

    assert [path.name for path in tmp_path.iterdir()] == ["0002-1-1.new"]
    living.close()


def test_quarantine_is_counted_and_never_drained(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=LIMIT)
    path = spool.quarantine("a.damaged", b"12345")

    assert path.read_bytes() == b"12345"
    assert spool.quarantine_bytes() == 5
    assert spool.is_empty()
    assert numbers(spool) == []


def test_segments_name_their_type_and_columns(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=LIMIT)
    spool.append(API_CALL, [frame(1)])
    spool.append(TOOL_CALL, [frame(2)])
    spool.seal()

    segments = list(spool.adopt())

    assert [(segment.type_name, segment.columns) for segment in segments] == [
        ("api_call", CALL_COLUMNS),
        ("tool_call", tuple(TOOL_CALL_COLUMN_TYPES)),
    ]
    for segment in segments:
        spool.release(segment)


def test_disk_handle_writes_all(tmp_path: Path) -> None:
    handle = Disk().create(tmp_path / "file")
    assert isinstance(handle, DiskHandle)
    handle.write(b"x" * 3_000_000)
    handle.close()

    assert (tmp_path / "file").stat().st_size == 3_000_000
