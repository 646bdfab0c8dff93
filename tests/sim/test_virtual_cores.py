"""A few cores in virtual time: what a piece costs, who goes first, and what is never owed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from floop_robot.sim.virtual_cores import FreeCores, SharedCores


class Machine:
    """Work whose cost is known exactly."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self.pieces: dict[str, int] = {}

    def work(self, name: str, cost_s: float, most: int = 1_000_000) -> Callable[[], bool]:
        """A process with `most` pieces of work."""
        self.pieces[name] = 0

        def piece() -> bool:
            if self.pieces[name] == most:
                return False
            self.spent_s += cost_s
            self.pieces[name] += 1
            return True

        return piece


@pytest.fixture
def machine() -> Machine:
    return Machine()


def shared(machine: Machine, cores: float, **nice: int) -> SharedCores:
    return SharedCores(cores, lambda name: nice.get(name, 0), lambda: machine.spent_s)


def run(cores: SharedCores, work: dict[str, Callable[[], bool]], seconds: float) -> None:
    for _ in range(round(seconds / cores.slice_s)):
        cores.run(work)


def test_free_cores_do_all_there_is_in_order(machine: Machine) -> None:
    FreeCores().run({"a": machine.work("a", 1.0, 3), "b": machine.work("b", 1.0, 2)})
    assert machine.pieces == {"a": 3, "b": 2}


def test_one_process_uses_one_core_at_most(machine: Machine) -> None:
    run(shared(machine, 1.5), {"a": machine.work("a", 0.02)}, 10.0)
    assert machine.spent_s == pytest.approx(10.0, abs=0.03)


def test_a_process_with_two_threads_uses_two_cores_and_no_more_than_its_share(machine: Machine) -> None:
    cores = SharedCores(2.0, lambda _: 0, lambda: machine.spent_s, {"a": 2})
    run(cores, {"a": machine.work("a", 0.02)}, 10.0)
    assert machine.spent_s == pytest.approx(20.0, abs=0.05)
    shares = SharedCores(2.0, lambda _: 0, lambda: machine.spent_s, {"b": 2})
    run(shares, {"b": machine.work("b", 0.02), "c": machine.work("c", 0.02), "d": machine.work("d", 0.02)}, 30.0)
    assert machine.pieces["b"] == pytest.approx(machine.pieces["c"], rel=0.05)


def test_processes_share_the_cores_by_their_nice_values(machine: Machine) -> None:
    run(shared(machine, 1.0, b=5), {"a": machine.work("a", 0.02), "b": machine.work("b", 0.01)}, 30.0)
    assert machine.spent_s == pytest.approx(30.0, abs=0.03)
    a_s, b_s = 0.02 * machine.pieces["a"], 0.01 * machine.pieces["b"]
    assert a_s / b_s == pytest.approx(1.25**5, rel=0.02)


def test_what_one_leaves_the_others_take(machine: Machine) -> None:
    work = {"a": machine.work("a", 0.02, 5), "b": machine.work("b", 0.01)}
    run(shared(machine, 1.0), work, 2.0)
    assert machine.pieces["a"] == 5 and machine.spent_s == pytest.approx(2.0, abs=0.03)


def test_a_piece_longer_than_a_slice_is_paid_for(machine: Machine) -> None:
    run(shared(machine, 1.0), {"a": machine.work("a", 0.25)}, 10.0)
    assert machine.pieces["a"] == 40


def test_who_was_idle_is_not_owed_for_it(machine: Machine) -> None:
    cores, a, b = shared(machine, 1.0), machine.work("a", 0.01), machine.work("b", 0.01)
    run(cores, {"a": lambda: False, "b": b}, 10.0)
    run(cores, {"a": a, "b": b}, 1.0)
    assert machine.pieces["a"] == pytest.approx(50, abs=3)
