"""The scales of a reproduction: what changes of the paper's settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from seer.config import Config
from seer.paper.exhibits import Exhibit
from seer.sweeps.grid import Settings

ScaleName = Literal["paper", "small", "toy"]
TOY: Settings = {
    "steps": 300, "first-update": 50, "batch-size": 8, "hidden-units": 16, "eval-every": 150, "eval-episodes": 1,
    "log-every": 50, "checkpoint-every": 150,
}  # fmt: skip
TOY_CONTROL: Settings = {"random-steps": 50, "action-repeat": 8}  # few pictures to an episode, which take most time
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
        """The scale of this name for this exhibit, with so many seeds, or its own number."""
        if name == "paper":
            return cls(name, 1.0, seeds or exhibit.seeds)
        if name == "toy":
            return cls(name, TOY_FRACTION, seeds or 1, TOY_PRETRAINING)
        small = exhibit.small
        return cls(name, small.fraction, seeds or small.seeds, small.pretraining or small.fraction)

    def envs(self, exhibit: Exhibit) -> tuple[str, ...]:
        """Those of the exhibit's environments that are trained unless others are asked for."""
        if self.name == "toy":
            return tuple(dict.fromkeys(comparison.envs[0] for comparison in exhibit.comparisons))
        return exhibit.small.envs if self.name == "small" else exhibit.envs

    def pretraining_steps(self, steps: int) -> int:
        """Those of a pretraining that takes so many in the paper."""
        return round(steps * self.pretraining)

    def settings(self, config: Config, *, flags: Sequence[str]) -> Settings:
        """What changes of a run's settings at this scale; `flags` that give its steps have them scaled already."""
        if self.name == "paper":
            return {}
        own: dict[str, str | int | float | bool]
        own = self._toy(config) if self.name == "toy" else self._small(config, scaled="--steps" in flags)
        if "--steps" in flags:
            own.pop("steps")
        if "--encoder-from" in flags:
            own.pop("freeze-at", None)
        if "--snapshot-every" in flags:
            own["snapshot-every"] = own["eval-every"]
        return own

    def _toy(self, config: Config) -> dict[str, str | int | float | bool]:
        own = dict(TOY)
        if config.freeze_step is not None:
            own["freeze-at"] = TOY_FREEZE
        if config.replay.capacity is not None:
            own["replay-capacity"] = TOY_ROWS
        return own | (dict(TOY_CONTROL) if config.agent in ("sac", "curl") else {})

    def _small(self, config: Config, *, scaled: bool) -> dict[str, str | int | float | bool]:
        steps = config.steps if scaled else round(config.steps * self.fraction)
        own: dict[str, str | int | float | bool]
        own = {"steps": steps, "eval-every": max(1, steps // MORE_OFTEN), "checkpoint-every": max(1, steps // 5)}
        if config.freeze_step is not None:
            own["freeze-at"] = max(1, round(config.freeze_step * self.fraction))
        if config.replay.capacity is not None:
            own["replay-capacity"] = max(self.share_of_replay(config), config.least_capacity)
        return own

    def share_of_replay(self, config: Config) -> int:
        """Frames of the replay by the scale alone, which learning may not be able to do with."""
        return round((config.replay.capacity or config.steps) * self.fraction)
