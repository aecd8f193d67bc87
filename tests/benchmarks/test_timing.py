"""How the benchmarks time: interleaved rounds, units, a clock that can be stopped; and the tables they print."""

import time

import pytest
from torch.utils.benchmark import Measurement, Timer

from report import number, table
from timing import CLOCK, Row, interleave, milliseconds


def test_every_round_has_a_slice_of_every_row_in_an_order_of_its_own() -> None:
    order: list[str] = []
    rows = [Row(name, lambda name=name: (order.append(name), time.sleep(2e-3))) for name in "abc"]
    measured = interleave(rows, rounds=6, slice_seconds=0.0, threads=1)
    assert list(measured) == ["a", "b", "c"]
    assert all(len(each.times) == 6 for each in measured.values())
    rounds = [tuple(order[at : at + 6 : 2]) for at in range(0, len(order), 6)]  # each is called to warm up, then timed
    assert len(rounds) == 6
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len(set(rounds)) > 1  # no row is always behind the same one


def test_a_figure_is_the_time_of_one_unit_without_what_the_clock_leaves_out() -> None:
    def call() -> None:
        with CLOCK.stopped():
            time.sleep(0.4)
        time.sleep(0.1)

    measured = interleave([Row("whole", call), Row("quarter", call, 4)], rounds=1, slice_seconds=0.0, threads=1)
    assert 0.1 <= measured["whole"].median < 0.4
    assert 0.025 <= measured["quarter"].median < 0.1


def test_median_and_quartiles() -> None:
    spec = Timer().timeit(1).task_spec
    found = milliseconds(Measurement(2, [0.010, 0.002, 0.008, 0.004, 0.006], spec))
    assert found["milliseconds"] == pytest.approx(3)
    assert found["quartiles"] == pytest.approx([2, 4])


def test_numbers_and_tables() -> None:
    shown = [number(value) for value in (None, 0.0123456, 1.0, 42.25, 99.96, 100.4, 12345.6)]
    assert shown == ["", "0.0123", "1.00", "42.2", "100", "100", "12,346"]
    lines = table(("row", "ms"), [("update", "1.50"), ("act", "10.1")]).splitlines()
    assert lines == ["| row    |   ms |", "| ------ | ---: |", "| update | 1.50 |", "| act    | 10.1 |"]
