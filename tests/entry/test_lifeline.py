"""A child learns that its supervisor is gone, whatever other children of it do with the pipe they share."""

from __future__ import annotations

import os
import threading

import pytest

from nexus.entry import lifeline


@pytest.mark.parametrize("waits", [True, False])
def test_a_process_without_a_loop_hears_of_the_end_though_another_made_the_pipe_one_that_nobody_waits_for(
    monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, waits)
    monkeypatch.setenv(lifeline.VARIABLE, str(reading))
    is_gone = threading.Event()
    try:
        lifeline.watch_in_thread(is_gone.set)
        assert not is_gone.wait(0.1)
        assert [thread.name for thread in threading.enumerate()].count("lifeline") == 1, "it goes on watching"
    finally:
        os.close(writing)
    assert is_gone.wait(10)
    os.close(reading)
