"""The journal's files: what is handed over and when, and that a process may die at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.contracts.limit_sets import DescribedLimit, LimitSet
from nexus.dataplane.gateway.duty import Duty
from nexus.dataplane.gateway.exchange import interrupted
from nexus.dataplane.gateway.journal import OPEN_SUFFIX, SUFFIX, Begin, End, Journal, OpenCall, leftovers
from nexus.dataplane.ingest.segments import write_frame
from nexus.kit.ids import uuid7, uuid7_text

ORGANIZATION, KEY = uuid7(), uuid7()


def begin_mark() -> Begin:
    return Begin(uuid7_text(), KEY, ORGANIZATION, "openai", "POST", "/v1/chat", "m", "req", 10, 3)


def end_mark(call: OpenCall | Begin) -> End:
    begin = Begin(call.id, KEY, ORGANIZATION, "openai", "POST", "/v1/chat", "m", "req", 10, 3)
    return End(call.id, KEY, ORGANIZATION, interrupted(begin))


def names(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def found(folder: Path) -> tuple[list[str], set[str]]:
    """Take all there is and delete it: the calls that ended, and those that were open."""
    ended: list[str] = []
    begun: set[str] = set()
    for file in leftovers(folder):
        ended += [end.id for end in file.ended]
        begun |= set(file.begun)
        file.settle()
    return ended, begun - set(ended)


def test_a_record_is_handed_over_though_a_call_beside_it_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    long, short = journal.begin(begin_mark()), journal.begin(begin_mark())
    journal.end(short, end_mark(short))
    assert found(tmp_path) == ([], set())

    journal.turn_over()

    assert journal.waiting()[0] == 1
    assert found(tmp_path) == ([short.id], set())
    assert journal.waiting()[0] == 0
    assert names(tmp_path) == [OPEN_SUFFIX]

    journal.end(long, end_mark(long))
    assert names(tmp_path) == [SUFFIX]
    journal.turn_over()
    assert found(tmp_path) == ([long.id], set())
    journal.close()
    assert names(tmp_path) == []


def test_the_limits_that_records_name_are_in_each_file_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    plans = [LimitSet.of(ORGANIZATION, [DescribedLimit("o:", name, "key", "tokens", 1, 0)]) for name in ("a", "b")]
    for plan in (plans[0], plans[1], plans[0], None):
        call = journal.begin(begin_mark())
        journal.end(call, end_mark(call), plan)
    (path,) = tmp_path.glob(f"*{SUFFIX}")
    written = path.read_bytes()
    journal.turn_over()
    call = journal.begin(begin_mark())
    journal.end(call, end_mark(call), plans[0])
    journal.close()

    first, second = leftovers(tmp_path)
    assert [written.count(plan.id.encode()) for plan in plans] == [1, 1]
    assert first.limit_sets == {plan.id: plan for plan in plans} and len(first.ended) == 4
    assert second.limit_sets == {plans[0].id: plans[0]} and not second.begun
    first.settle()
    second.settle()


def test_a_journal_without_records_is_not_turned_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.turn_over()
    call = journal.begin(begin_mark())
    journal.turn_over()

    assert found(tmp_path) == ([], set()) and names(tmp_path) == [SUFFIX]
    journal.end(call, end_mark(call))
    journal.close()
    assert found(tmp_path) == ([call.id], set())


def test_a_call_whose_beginning_was_not_noted_is_recorded(tmp_path: Path) -> None:
    journal, begun = Journal(tmp_path), begin_mark()
    journal.end(None, end_mark(begun))
    journal.close()

    assert found(tmp_path) == ([begun.id], set())


def test_marks_of_the_release_before_are_read(tmp_path: Path) -> None:
    begun, ended = begin_mark(), end_mark(begin_mark())
    old = msgspec.msgpack.Encoder(uuid_format="hex")
    content = b"".join(
        write_frame(old.encode([tag, UUID(mark.id), *msgspec.structs.astuple(mark)[1:count]]))
        for tag, mark, count in (("b", begun, 10), ("e", ended, 4))
    )
    (tmp_path / f"0-1-1{SUFFIX}").write_bytes(content)

    (file,) = leftovers(tmp_path)

    assert [UUID(item) for item in file.begun] == [UUID(begun.id)]
    assert [(UUID(end.id), end.call.provider, end.application) for end in file.ended] == [
        (UUID(ended.id), "openai", "")
    ]
    file.settle()


def test_a_call_whose_record_the_disk_refuses_is_not_interrupted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    other, call = journal.begin(begin_mark()), journal.begin(begin_mark())
    write = type(call.file).write

    def refuse_records(file: object, content: bytes) -> None:
        if len(content) > 120:
            raise OSError(28, "No space left on device")
        write(file, content)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(type(call.file), "write", refuse_records)
        with pytest.raises(OSError, match="space"):
            journal.end(call, end_mark(call))
    journal.end(other, end_mark(other))
    journal.close()

    assert found(tmp_path) == ([other.id], set())


@given(
    st.lists(st.one_of(st.just("begin"), st.just("turn"), st.just("collect"), st.integers(0, 30)), max_size=60),
    st.sampled_from([200, 2_000, 2**20]),
)
def test_whenever_a_process_dies_each_call_is_ended_or_open_and_none_is_lost(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str | int], segment_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder, segment_bytes=segment_bytes)
    descriptors: set[int] = set()
    running: dict[str, OpenCall] = {}
    done: list[str] = []
    collected: list[str] = []
    for step in steps:
        if step == "begin":
            call = journal.begin(begin_mark())
            running[call.id] = call
        elif step == "turn":
            journal.turn_over()
        elif step == "collect":
            ended, begun = found(folder)
            collected += ended
            assert not begun, "a call of a living process is taken for interrupted"
        elif running:
            call = running.pop(list(running)[int(step) % len(running)])
            journal.end(call, end_mark(call))
            done.append(call.id)
        descriptors |= {
            file.descriptor for file in (journal._active, *(item.file for item in running.values())) if file
        }

    kill(descriptors, folder)
    ended, begun = found(folder)

    assert sorted(collected + ended) == sorted(done)
    assert begun == set(running)
    assert names(folder) == []


def kill(descriptors: set[int], folder: Path) -> None:
    """Let go of all files as the kernel does for a process that was killed."""
    for descriptor in descriptors:
        path = Path(f"/proc/self/fd/{descriptor}")
        if path.exists() and folder in path.readlink().parents:
            os.close(descriptor)


def test_a_duty_is_one_process_s_until_it_ends(tmp_path: Path) -> None:
    mine, other = Duty(tmp_path / "x.lock"), Duty(tmp_path / "x.lock")
    code = (
        "import sys; from pathlib import Path; from nexus.dataplane.gateway.duty import Duty\n"
        "print(Duty(Path(sys.argv[1])).take(), flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "x.lock")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        assert mine.is_taken() and not mine.take()
        child.kill()

    assert not mine.is_taken() and mine.take() and mine.take()
    assert not mine.is_taken() and other.is_taken()
    mine.give_up()
    assert other.take()
    other.give_up()
