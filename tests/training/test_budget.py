"""The memory of a run, and the replay that fits what is free."""

import dataclasses

import pytest

from seer.training.budget import FILE_BUFFERS, Budget


@pytest.mark.parametrize("in_file", [False, True])
def test_the_replay_that_fits_takes_all_that_is_free(in_file: bool) -> None:
    asked = Budget(replay=10**10, index=10**8, rest=10**9, in_file=in_file)
    assert asked.total == asked.others + (not in_file) * 10**10
    assert asked.others == 10**9 + 10**8 + in_file * FILE_BUFFERS
    for free in (2 * 10**9, 5 * 10**10):
        fits = asked.replay_within(free)
        took = dataclasses.replace(asked, replay=fits, index=fits // 100)
        assert free - 100 <= took.total <= free
    assert asked.replay_within(10**9) == 0
