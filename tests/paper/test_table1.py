"""Table 1 in halves: equal compute, where each run ends at a number of FLOPs, and equal memory."""

import dataclasses
import re

import pytest

from exhibit_plans import paper_config, planned
from seer.paper.exhibits import EXHIBITS
from seer.paper.scale import Scale, ScaleName
from seer.sweeps.options import SweepOptions
from seer.sweeps.plan import cost_trials
from seer.sweeps.trial import Trial

Capture = pytest.CaptureFixture[str]


def test_the_halves_of_table_1_are_compared_as_the_whole_is() -> None:
    whole, compute, memory = (EXHIBITS[name] for name in ("table1", "table1-compute", "table1-memory"))
    assert memory.comparisons == whole.comparisons[1:]
    assert (compute.columns, memory.columns) == (whole.columns[:1], whole.columns[1:])
    assert compute.columns[0].flops == 45e12
    for exhibit in (whole, compute, memory):
        labels = {variant.label for variant in exhibit.variants.values()}
        for column in exhibit.columns:
            assert set(column.groups) <= labels
            assert set(column.published) == {(env, label) for env in exhibit.envs for label in column.groups}


@pytest.mark.parametrize("scale", ["paper", "small"])
def test_under_equal_compute_a_run_ends_with_the_first_step_that_spends_it(scale: ScaleName, capsys: Capture) -> None:
    """Against the FLOPs that the plan gives runs of so many steps, and of one fewer."""
    said = planned(capsys, "table1-compute", "--envs", "Alien", "--seeds", 2, "--scale", scale)
    flops = 45e12 * {"paper": 1, "small": 0.2}[scale]
    steps = {}
    for variant, label in (("rainbow", "Rainbow"), ("rainbow-seer", r"Rainbow \+ SEER")):
        (row,) = re.findall(
            rf"^  {label} +ends at {re.escape(f'{flops:.3g}')} FLOPs, .* after ([\d,]+) steps ", said, re.M
        )
        steps[variant] = int(row.replace(",", ""))
        exhibit = EXHIBITS["table1-compute"]
        config = Scale.of(exhibit, scale, None).scaled(paper_config("table1", variant, "ALE/Alien-v5"))
        longer, shorter = (dataclasses.replace(config, steps=steps[variant] - less) for less in (0, 1))
        trials = [Trial("a", config.env, "x", 0, each) for each in (longer, shorter)]
        reached, missed = (each.flops for each in cost_trials(trials, SweepOptions()))
        assert missed < flops <= reached
        command = rf"^seer train .*--steps {steps[variant]} --planned-steps {config.steps}\b"  # pairs share schedules
        assert len(re.findall(command, said, re.M)) == 1  # of both seeds
    if scale == "paper":
        assert steps["rainbow"] == pytest.approx(155_000, rel=0.01)
        assert steps["rainbow-seer"] == pytest.approx(390_000, rel=0.05)
