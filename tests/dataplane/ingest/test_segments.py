"""Segments: whole frames come back, torn tails vanish, damage is shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexus.dataplane.ingest.segments import MAGIC, Damage, Frame, encode_frame, encode_preamble, read_segment

PREAMBLE = encode_preamble(["a", "b"], created_at_us=1, process_id=2)
FRAMES = [Frame(bytes([n]) * 16, [n], [b"row-%d" % n, b"\x00\xff" * n]) for n in range(4)]
ENCODED = [encode_frame(frame) for frame in FRAMES]
WHOLE = PREAMBLE + b"".join(ENCODED)


def _ends() -> list[int]:
    ends = [len(PREAMBLE)]
    for frame in ENCODED:
        ends.append(ends[-1] + len(frame))
    return ends


def test_what_was_written_is_read() -> None:
    header, found, torn = read_segment(WHOLE)

    assert header is not None and header.columns == ["a", "b"]
    assert found == FRAMES
    assert torn == 0


def test_torn_at_every_byte_keeps_every_whole_frame_and_reports_no_damage() -> None:
    ends = _ends()

    for cut in range(len(WHOLE) + 1):
        _, found, torn = read_segment(WHOLE[:cut])

        whole = [frame for frame, end in zip(FRAMES, ends[1:], strict=True) if end <= cut]
        assert found == whole, cut
        if cut >= ends[0]:
            assert torn == cut - max(end for end in ends if end <= cut), cut


def test_tail_of_zeros_at_every_byte_keeps_every_whole_frame() -> None:
    ends = _ends()

    for cut in range(len(WHOLE) + 1):
        _, found, _ = read_segment(WHOLE[:cut] + bytes(len(WHOLE) - cut))

        frames = [item for item in found if isinstance(item, Frame)]
        whole = [frame for frame, end in zip(FRAMES, ends[1:], strict=True) if end <= cut]
        assert frames[: len(whole)] == whole, cut


def test_one_flipped_byte_costs_one_frame_and_is_reported() -> None:
    ends = _ends()

    for place in range(ends[0], len(WHOLE)):
        content = bytearray(WHOLE)
        content[place] ^= 0x55
        _, found, torn = read_segment(bytes(content))

        frames = [item for item in found if isinstance(item, Frame)]
        damages = [item for item in found if isinstance(item, Damage)]
        hit = next(number for number, end in enumerate(ends[1:]) if place < end)
        assert frames == FRAMES[:hit] + FRAMES[hit + 1 :], place
        assert torn == 0
        assert b"".join(damage.content for damage in damages) == bytes(content[ends[hit] : ends[hit + 1]]), place


def test_lost_header_is_damage_of_all() -> None:
    content = bytearray(WHOLE)
    content[len(MAGIC) + 20] ^= 1

    header, found, _ = read_segment(bytes(content))

    assert header is None
    assert [type(item) for item in found] == [Damage]
    assert isinstance(found[0], Damage) and found[0].content == bytes(content)


@given(st.binary(max_size=400))
def test_any_file_is_read_without_an_error(content: bytes) -> None:
    for prefix in (b"", MAGIC, PREAMBLE, WHOLE):
        read_segment(prefix + content)
