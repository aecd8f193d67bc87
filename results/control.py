"""What the runs of CURL on DeepMind Control say, and those that start with another task's encoder."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from compare import Comparison, change, flops, mean_and_deviation, table
from evidence import RESULTS, costs, folders, frozen_at, last_score, late_score, runs, score_at_flops, table_of
from evidence import length as length_of
from seer.reporting.curves import Run

FAMILY = "curl-"  # how the exhibits begin whose runs are compared here
ARM = re.compile(r"never|auto|at\d+|frozen|-seer")
EARLIER = "summed losses, earlier code"
YARDSTICK_STEPS = 12_500
CARTPOLE = "dm_control/cartpole-swingup-v0"


@dataclass(frozen=True)
class Pair:
    """One kind of run with and without a freeze, compared at equal steps and, where they were counted, equal FLOPs."""

    name: str
    frozen_at: int
    length: int
    steps: Comparison
    flops: Comparison | None

    @property
    def seeds(self) -> int:
        return self.steps.seeds

    @property
    def lengths(self) -> str:
        """Return the steps of the never frozen and the frozen runs, once if they are the same."""
        ends = (min(map(length_of, side)) for side in (self.steps.never, self.steps.frozen))
        return " and ".join(f"{end:,}" for end in dict.fromkeys(ends))


def pairs() -> list[Pair]:
    """Return all kinds of runs that were trained with and without a freeze, most seeds and today's code first."""
    made = [pair for group in _kinds() for pair in _pairs(group)]
    return sorted(made, key=lambda pair: (-pair.seeds, EARLIER in pair.name))


def _kinds() -> list[list[Run]]:
    """Return the runs that differ in seed and freeze alone."""
    found: dict[tuple[str, ...], list[Run]] = {}
    for exhibit in folders():
        for run in runs(exhibit).values() if exhibit.startswith(FAMILY) else ():
            found.setdefault((exhibit, run.settings["env"], ARM.sub("", run.label)), []).append(run)
    return [*found.values(), _authors()]


def _pairs(group: Sequence[Run]) -> list[Pair]:
    """Return a pair for each step at which some of these runs were frozen; the seeds are those that both sides have."""
    made = []
    for step in sorted({at for run in group if (at := frozen_at(run)) is not None}):
        sides = [[run for run in group if frozen_at(run) == at] for at in (None, step)]
        shared = set.intersection(*({run.settings["seed"] for run in side} for side in sides))
        never, frozen = ([run for run in side if run.settings["seed"] in shared] for side in sides)
        if shared:
            made.append(_pair(never, frozen, step))
    return made


def _pair(never: Sequence[Run], frozen: Sequence[Run], step: int) -> Pair:
    ends = [run.of_kind("eval")[-1] for run in [*never, *frozen]]
    env, length, budget = never[0].settings["env"], min(end["step"] for end in ends), min(end["flops"] for end in ends)
    flops = Comparison(env, never, frozen, partial(score_at_flops, budget=budget)) if budget else None
    return Pair(
        _name(never[0]), step, length, Comparison(env, never, frozen, partial(late_score, length=length)), flops
    )


def _name(run: Run) -> str:
    """Say what sets these runs apart from others."""
    asked = run.settings
    if "update" in asked:
        return str(asked["update"])
    steps, capacity = asked.get("sac.contrastive_steps"), asked["replay.capacity"]
    order = EARLIER if steps is None else f"published order, {steps} contrastive step{'s' * (steps > 1)}"
    small = f", {capacity:,} frames stored" if capacity < asked["steps"] else ""
    return f"{asked['image.size']} pixels, batches of {asked['learning.batch_size']}, {order}{small}"


def _authors() -> list[Run]:
    """Return the runs of the authors' own code, which count no FLOPs."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in table_of("curl-update/authors.csv"):
        found.setdefault((row["frozen"], row["seed"]), []).append(row)
    never = {seed: rows for (frozen, seed), rows in found.items() if frozen == "never"}
    made = []
    for (frozen, seed), rows in found.items():
        freeze = [] if frozen == "never" else [{"kind": "freeze", "step": int(frozen)}]
        before = [] if frozen == "never" else [row for row in never[seed] if int(row["step"]) < int(rows[0]["step"])]
        evaluations = [
            {"kind": "eval", "step": int(row["step"]), "mean": float(row["mean"]), "flops": 0} for row in before + rows
        ]
        settings = {"env": CARTPOLE, "seed": int(seed), "update": "48 pixels, batches of 64, the authors' code"}
        made.append(Run(RESULTS, settings, [*freeze, *evaluations]))
    return made


def first() -> Pair:
    """Return the pair to speak of first: the one with most seeds."""
    return pairs()[0]


def control_block() -> str:
    """Return all pairs, and never frozen agents beside published ones."""
    rows = []
    for pair in pairs():
        row = [pair.steps.game, pair.name, f"{pair.frozen_at:,}", pair.lengths, pair.seeds]
        for each in (pair.steps, pair.flops):
            row += ["-"] * 3 if each is None else [*each.texts, change(each.difference, pair.seeds)]
        rows.append(row)
    head = [
        "task", "runs", "frozen at", "steps", "seeds", "equal steps: never", "frozen", "difference",
        "equal FLOPs: never", "frozen", "difference",
    ]  # fmt: skip
    alone = [run.folder.name for group in _kinds() if not _pairs(group) for run in group]
    said = f"\n\nNot compared yet: {', '.join(alone)}." if alone else ""
    return f"{table(head, rows)}\n\n{_yardstick()}{said}"


def _yardstick() -> str:
    known = {row["source"]: row for row in table_of("yardsticks.csv") if row["env"] == CARTPOLE}
    published = ", ".join(f"{name} {row['mean']} ± {row['std']}" for name, row in known.items())
    ours: dict[str, list[float]] = {}
    for pair in pairs():
        if pair.steps.env == CARTPOLE:
            scores = [score for run in pair.steps.never if (score := last_score(run, YARDSTICK_STEPS)) is not None]
            ours.setdefault(pair.name, scores)
    texts = "; ".join(f"{mean_and_deviation(scores)} ({name})" for name, scores in ours.items())
    return (
        f"Yardstick for agents that are never frozen, cartpole-swingup at {YARDSTICK_STEPS:,} decisions, published "
        f"(100 pixels, batches of 128 and more): {published}. Ours: {texts}."
    )


# Transfer --------------------------------------------------------------------------------------------------------


def transfer_scores() -> tuple[float, float, float, float]:
    """Return the FLOPs that both runs spent, both scores there (without, with), and the FLOPs of the pretraining."""
    found = runs("transfer")
    scratch, transferred = found["walk-never-0"], found["walk-transfer-0"]
    budget = scratch.of_kind("eval")[-1]["flops"]
    scores = [score_at_flops(run, budget) for run in (scratch, transferred)]
    assert scores[0] is not None
    assert scores[1] is not None
    return budget, scores[0], scores[1], found["stand-0"].of_kind("eval")[-1]["flops"]


def transfer_block() -> str:
    """Return what came of another task's encoder."""
    budget, scratch, transferred, pretraining = transfer_scores()
    return (
        f"CURL on walker-walk, one seed, small pictures: at {flops(budget)} FLOPs {transferred:,.0f} with the frozen "
        f"encoder of a run on walker-stand, {scratch:,.0f} from scratch. The pretraining cost {flops(pretraining)}."
    )


# Cost ------------------------------------------------------------------------------------------------------------


COUNTED = (
    ("Rainbow, Atari", "table1", "Alien-rainbow-seer-small-0"),
    ("CURL, 48 pixels, batches of 64", "curl-update", "published2-at10000-0"),
    ("CURL, 100 pixels, batches of 128, earlier code", "curl-summed", "cartpole-swingup-frozen-30k-0"),
)
"""Runs whose own counts are shown: name, exhibit, run."""


def cost_block() -> str:
    """Return what a step costs before and after the freeze, in FLOPs and bytes, as runs counted it."""
    rows = []
    for name, exhibit, run in COUNTED:
        cost = costs(exhibit)[run]
        rows.append([name, *_change(cost, "step_flops", scale=1e6), *_change(cost, "row_bytes")])
    head = ["agent", "million FLOPs a step", "frozen", "share", "bytes a stored step", "frozen", "share"]
    return f"{table(head, rows)}\n\n{_resident()}"


def shares() -> tuple[str, str, str, str]:
    """Return what a frozen step costs of one before the freeze: FLOPs and bytes of Rainbow, then of CURL."""
    rainbow, curl = (costs(exhibit)[run] for _, exhibit, run in (COUNTED[0], COUNTED[1]))
    flops_and_bytes = [_change(cost, name)[-1] for cost in (rainbow, curl) for name in ("step_flops", "row_bytes")]
    return flops_and_bytes[0], flops_and_bytes[1], flops_and_bytes[2], flops_and_bytes[3]


def _change(cost: Mapping[str, str], name: str, scale: float = 1.0) -> list[str]:
    before, after = float(cost[f"{name}_before"]) / scale, float(cost[f"{name}_after"]) / scale
    return [f"{before:,.0f}", f"{after:,.0f}", f"{after / before:.2f}"]


def _resident() -> str:
    measured = {row["run"]: row for row in table_of("stable-baselines3/runs.csv")}
    texts = []
    for name, run in (("DQN", "dqn-{}-quiet"), ("SAC", "sac-{}-quiet")):
        plain, ours = (float(measured[run.format(variant)]["resident_bytes"]) / 1e6 for variant in ("plain", "seer"))
        texts.append(f"{name} {plain:,.0f} MB without and {ours:,.0f} MB with it")
    return f"Resident memory of whole processes, Stable-Baselines3 with and without SEER: {', '.join(texts)}."
