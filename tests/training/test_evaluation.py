"""Evaluation: depends on seed, step and agent alone, and where fresh heads come in."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from seer.config import Config
from seer.runs.folder import read_metrics
from seer.training.build_environment import build_environment
from seer.training.evaluation import Evaluation, Evaluator
from small_agent import make_agent
from tiny_run import FLAGS, seer


def test_an_evaluation_depends_on_seed_step_and_agent_alone() -> None:
    """Not on the games that its environments played before, nor on anybody's random numbers; and it changes none."""
    config = Config(env="ALE/Breakout-v5")  # whose games are short
    agent = make_agent(stack=4, frame_shape=(1, 84, 84), num_actions=4)

    def evaluator(seed: int) -> Evaluator:
        # Half of the actions are random, so that games of another seed go differently.
        return Evaluator([build_environment(config, training=False)], epsilon=0.5, seed=seed)

    def results(evaluation: Evaluation) -> tuple[Any, ...]:
        return evaluation.returns, evaluation.lengths

    used = evaluator(3)
    generator = torch.get_rng_state()
    first = results(used(agent, episodes=1, step=7))
    other_step = results(used(agent, episodes=1, step=8))
    assert torch.equal(torch.get_rng_state(), generator)
    agent.explore(np.zeros((4, 1, 84, 84), np.uint8))
    torch.manual_seed(1)
    assert results(used(agent, episodes=1, step=7)) == first
    assert results(evaluator(3)(agent, episodes=1, step=7)) == first
    assert other_step != first


def test_evaluation_statistics() -> None:
    evaluation = Evaluation(returns=(1.0, 3.0), lengths=(10, 20))
    assert (evaluation.mean, evaluation.std) == (2.0, 1.0)


def test_fresh_heads_come_behind_the_evaluation_and_never_last(tmp_path: Path) -> None:
    flags = ("--steps", 150, "--freeze-at", 75, "--first-update", 50, "--reset-heads-every", 50, "--eval-every", 50)
    flags = (*flags, "--max-episode-steps", 40)
    assert seer("train", *FLAGS, *flags, "--out", tmp_path / "run") == 0
    kinds = [(r["step"], r["kind"]) for r in read_metrics(tmp_path / "run") if r["kind"] in ("eval", "reset")]
    assert kinds == [*((step, kind) for step in (50, 100) for kind in ("eval", "reset")), (150, "eval")]
