"""Processes with leases on one limit, in simulated time: who asks when, who dies, and what the rules have to say to it."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

from nexus.contracts.limits import Limit
from nexus.dataplane.decide.leases import HORIZON_US, LIFE_US, Asked, Leases
from nexus.dataplane.decide.model import Cell
from tests.dataplane.decide.cases import ORGANIZATION, SECOND, START

CELL = ORGANIZATION.hex
LATENCY_US = 400
SWEEP_US = 50_000
Pace = Callable[[int, int], float]
"""Calls a second of a process (first) at so many microseconds from the beginning (second)."""


@dataclass
class Process:
    """One process. Its clock has nothing to do with anybody else's."""

    leases: Leases
    clock_offset: int
    is_dead: bool = False


@dataclass
class Outcome:
    """What came of it."""

    asked: int = 0
    admitted: list[tuple[int, int]] = field(default_factory=list)
    """When and how many units."""
    round_trips: int = 0

    @property
    def units(self) -> int:
        """Return how much was admitted."""
        return sum(units for _, units in self.admitted)

    def overshoot(self, limit: Limit) -> Fraction:
        """By how much the worst interval had more than burst and refill."""
        assert limit.rate is not None
        rate = Fraction(limit.rate.numerator, limit.rate.denominator)
        worst, lowest, total = Fraction(-limit.capacity), Fraction(0), 0
        for at, units in sorted(self.admitted):
            lowest = min(lowest, total - rate * at)
            total += units
            worst = max(worst, total - rate * at - lowest - limit.capacity)
        return worst


def arrivals(processes: int, pace: Pace, seconds: float, chance: random.Random) -> Iterator[tuple[int, int]]:
    """Yield (instant, process): Poisson arrivals of each."""
    queue = [(0, number) for number in range(processes)]
    heapq.heapify(queue)
    while queue:
        at, number = heapq.heappop(queue)
        if at >= seconds * SECOND:
            continue
        a_second = pace(number, at)
        if a_second <= 0:
            heapq.heappush(queue, (at + 10_000, number))
            continue
        heapq.heappush(queue, (at + max(1, round(chance.expovariate(a_second) * SECOND)), number))
        yield at, number


def ideal(limit: Limit, calls: list[tuple[int, int]], units: int) -> int:
    """Return what one bucket that sees every call at once admits."""
    cell = Cell()
    return sum(units for at, _ in calls if cell.decide([(limit, "b", units)], START + at).outcome == "admitted")


def simulate(
    limit: Limit,
    calls: list[tuple[int, int]],
    processes: int,
    *,
    units: int = 1,
    chance: random.Random,
    dies: Callable[[int, int], bool] = lambda number, at: False,
    answers_lost: float = 0.0,
) -> Outcome:
    """Let processes with leases decide calls; `dies` says whether a process dies at an instant, for ever, with all it has;
    of leases a part of the answers may be lost, after Redis has done what was asked."""
    cell, outcome = Cell(), Outcome()
    made = [Process(Leases(), chance.randrange(10**12)) for _ in range(processes)]
    asked: Asked = [(limit, "b", units)]
    sweeps = [(at, -1) for at in range(SWEEP_US, calls[-1][0], SWEEP_US)]
    for at, number in heapq.merge(calls, sweeps):
        redis_now = START + at + LATENCY_US // 2
        if number < 0:
            for process in made:
                _sweep(process, cell, at, redis_now, outcome)
            cell.end_leases(redis_now)
            continue
        process = made[number]
        process.is_dead = process.is_dead or dies(number, at)
        if process.is_dead:
            continue
        outcome.asked += 1
        mine = at + process.clock_offset
        admitted_at = at
        if not process.leases.note(CELL, asked, mine):
            outcome.round_trips += 1
            admitted_at = at + LATENCY_US // 2
            is_admitted = cell.decide(asked, redis_now).outcome == "admitted"
        elif (local := process.leases.decide(CELL, asked, mine)) is not None:
            is_admitted = local.is_admitted
        else:
            outcome.round_trips += 1
            wishes = process.leases.wishes(CELL, asked, mine)
            sequence = process.leases.next_sequence()
            verdict = cell.lease(
                process.leases.process, sequence, wishes, redis_now, life_us=LIFE_US, horizon_us=HORIZON_US
            )
            assert verdict is not None
            is_admitted = verdict.outcome == "admitted"
            if chance.random() < answers_lost:
                continue
            bucket = cell.buckets["b"]
            lease = bucket.leases[process.leases.process]
            answer = [
                int(is_admitted), redis_now, verdict.limit, verdict.retry_us,
                floor(bucket.level) + bucket.ahead(redis_now),
                lease.amount - lease.accruing, lease.accruing, lease.duration, 0,
            ]  # fmt: skip
            process.leases.granted(CELL, sequence, asked, answer, mine, mine + LATENCY_US)
            admitted_at = at + LATENCY_US // 2
        if is_admitted:
            outcome.admitted.append((admitted_at, units))
    return outcome


def _sweep(process: Process, cell: Cell, at: int, redis_now: int, outcome: Outcome) -> None:
    if process.is_dead or not process.leases.idle(at + process.clock_offset):
        return
    outcome.round_trips += 1
    wishes = process.leases.give_back(CELL, at + process.clock_offset)
    cell.lease(
        process.leases.process,
        process.leases.next_sequence(),
        wishes,
        redis_now,
        life_us=LIFE_US,
        horizon_us=HORIZON_US,
    )
