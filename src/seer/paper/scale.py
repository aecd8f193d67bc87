"""The scales of a reproduction: what changes of the paper's settings."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from seer.agents.registry import AGENTS
from seer.config import Config
from seer.fields import Value
from seer.paper.exhibits import Exhibit
from seer.presets import change
from seer.registry import Settings
from seer.sweeps.plan import steps_within
from seer.validation import validate

ScaleName = Literal["paper", "small", "toy"]
TOY: Settings = {
    "steps": 300, "eval_every": 150, "eval_episodes": 1, "log_every": 50, "checkpoint_every": 150,
    "learning.first_update": 50, "learning.batch_size": 8, "learning.hidden_units": 16,
}  # fmt: skip
TOY_CONTROL: Settings = {"sac.random_steps": 50, "image.action_repeat": 8}  # few pictures, which take most time
TOY_FREEZE, TOY_ROWS, TOY_FRACTION, TOY_PRETRAINING = 200, 100, 1e-4, 0.005
MORE_OFTEN = 20  # evaluations of a small run, so that a score at a FLOPs budget lies between two near ones


@dataclass(frozen=True)
class Scale:
    """How a reproduction differs from the paper: shares of its steps, T_f, replay and FLOPs; fewer of the rest.

    `pretraining` is the share of a pretraining's steps.
    """

    name: ScaleName
    fraction: float
    seeds: int
    pretraining: float = 1.0

    @classmethod
    def of(cls, exhibit: Exhibit, name: ScaleName, seeds: int | None) -> "Scale":
        """Return the scale of this name for this exhibit, with so many seeds, or its own number."""
        if name == "paper":
            return cls(name, 1.0, seeds or exhibit.seeds)
        if name == "toy":
            return cls(name, TOY_FRACTION, seeds or 1, TOY_PRETRAINING)
        small = exhibit.small
        return cls(name, small.fraction, seeds or small.seeds, small.pretraining or small.fraction)

    def envs(self, exhibit: Exhibit) -> tuple[str, ...]:
        """Return the exhibit's environments that are trained unless others are asked for."""
        if self.name == "toy":
            return tuple(dict.fromkeys(comparison.envs[0] for comparison in exhibit.comparisons))
        return exhibit.small.envs if self.name == "small" else exhibit.envs

    def pretraining_steps(self, steps: int) -> int:
        """Return the steps of a pretraining that takes so many in the paper."""
        return round(steps * self.pretraining)

    def scaled(self, config: Config, *, is_pretraining: bool = False, flops: float | None = None) -> Config:
        """Return a run's config at this scale; a pretraining has its steps already.

        A run that ends at so many FLOPs of the paper's has the steps that spend the scale's share of them, and the
        schedules of one that goes on to its full length: pairs are the same run until the freeze. The 300 steps of a
        toy run stay. SettingError where the run can't be trained at this scale.
        """
        steps = config.steps if is_pretraining else round(config.steps * self.fraction)
        own = {} if self.name == "paper" else self._changes(config, steps)
        if is_pretraining:
            own["steps"] = steps
        config = validate(change(config, own))
        if flops is None or self.name == "toy":
            return config
        config = dataclasses.replace(config, planned_steps=config.steps)
        alike = dataclasses.replace(config, seed=0)  # calculated once for all seeds
        return validate(change(config, {"steps": steps_within(alike, flops * self.fraction)}))

    def share_of_replay(self, config: Config) -> int:
        """Return the frames of the replay by the scale alone, which may be fewer than learning needs."""
        return round((config.replay.capacity or config.steps) * self.fraction)

    def _changes(self, config: Config, steps: int) -> dict[str, Value]:
        """Return the settings of a small or toy run that differ from the paper's."""
        if self.name == "toy":
            own = {**TOY, **(TOY_CONTROL if AGENTS[config.agent].actions == "continuous" else {})}
            freeze, rows = TOY_FREEZE, TOY_ROWS
        else:
            own = {"steps": steps, "eval_every": max(1, steps // MORE_OFTEN), "checkpoint_every": max(1, steps // 5)}
            freeze = max(1, round((config.freeze_step or 0) * self.fraction))
            rows = max(self.share_of_replay(config), config.least_capacity)
        if config.freeze_step:  # not from the start
            own["freeze.at"] = str(freeze)
        if config.replay.capacity is not None:
            own["replay.capacity"] = rows
        if config.snapshot_every is not None:
            own["snapshot_every"] = own["eval_every"]
        return own
