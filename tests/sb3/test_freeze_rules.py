"""Rules that decide the step of the freeze, told of what Stable-Baselines3 does."""

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from seer.core.freeze_rules import FreezeRule, StepMetrics
from seer.core.similarity import Covariances, linear_cka
from seer.integrations.stable_baselines3.feature_stability import FeatureStability

from .arcade import arcade, model, quiet
from .counted import PICTURE, counted
from .counted import learner as small_learner


class KeepsCopies(BaseCallback):
    """The Q-network at some steps."""

    def __init__(self, *steps: int) -> None:
        super().__init__()
        self.steps, self.copies = steps, []

    def _on_step(self) -> bool:
        if self.num_timesteps in self.steps:
            self.copies.append(copy.deepcopy(self.model.q_net))
        return True


def test_automatic_freezing_measures_how_much_features_change_and_waits_for_the_score() -> None:
    """And begins anew where steps are counted anew."""
    learner = model("DQN", learning_rate=1e-3, train_freq=20)
    automatic = quiet("auto", probe_every=260, earliest=100, similarity=0.0, patience=1)
    keeper = KeepsCopies(780, 1040)
    learner.learn(1040, callback=[keeper, automatic])  # alike since 520, for as long again
    assert not hasattr(learner, "seer_frozen_at")
    assert automatic._rule.reason == "score at its floor"
    covariances = Covariances()
    images = torch.cat(learner.replay_buffer.recent(256, span=260))
    with torch.no_grad():
        covariances.add(*(net.extract_features(images, net.features_extractor.eval()) for net in keeper.copies))
    assert automatic._rule.similarity == pytest.approx(linear_cka(covariances), abs=0.02)  # one step older images
    assert automatic._rule.similarity < 0.999
    rule = automatic._rule
    assert rule.alike_since == 520
    learner.learn(20, callback=automatic, reset_num_timesteps=False)
    assert automatic._rule is rule
    learner.learn(20, callback=automatic)
    assert automatic._rule is not rule
    assert automatic._rule.streak == 0


def test_numbers_that_an_extractor_passes_on_make_no_two_of_its_states_alike() -> None:
    """Beside the picture are numbers a thousand times as large as its features."""
    joints = spaces.Box(-1000, 1000, (5,), np.float32)
    learner, callback = small_learner(counted(space=spaces.Dict(j=joints, p=PICTURE))), quiet("never")
    learner.learn(300, callback=callback)
    policy, buffer, stability = learner.policy, learner.replay_buffer, FeatureStability()
    assert stability.compare(policy, buffer, callback._cut(), span=300) is None
    nets = [copy.deepcopy(policy.q_net), policy.q_net]
    with torch.no_grad():
        for weight in policy.q_net.features_extractor.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
    covariances = Covariances()
    with torch.no_grad():
        for chunk in buffer.recent(256, span=300):
            features = [net.extract_features(chunk, net.features_extractor) for net in nets]
            assert torch.equal(features[0][:, :5], chunk["j"])
            covariances.add(*(each[:, 5:] for each in features))
    found = stability.compare(policy, buffer, callback._cut(), span=300)
    assert found == pytest.approx(linear_cka(covariances), rel=1e-9)
    assert found < 0.9


class Rising(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Every episode's reward is larger than the one's before."""

    episode = 0

    def step(self, action: Any) -> Any:
        observation, _, terminated, truncated, info = self.env.step(action)
        self.episode += terminated or truncated
        return observation, float(self.episode), terminated, truncated, info


def test_automatic_freezing_freezes_when_features_have_settled_and_the_score_has_risen() -> None:
    inner = arcade(stack=1).envs[0].env  # type: ignore[attr-defined]
    learner = model("DQN", DummyVecEnv([lambda: Monitor(Rising(inner))]), train_freq=20)
    learner.learn(1080, callback=quiet("auto", probe_every=260, earliest=100, similarity=0.0, patience=1))
    assert learner.seer_frozen_at == 1040  # alike from the first comparison, at 520, on


class AtTheFirstLoss(FreezeRule):
    """Remembers what it was told, and freezes once it was told a loss."""

    def __init__(self) -> None:
        self.heard: list[StepMetrics] = []

    def on_step(self, metrics: StepMetrics) -> None:
        self.heard.append(metrics)
        if "loss" in metrics.losses:
            self.due_from = metrics.step


def test_a_freeze_rule_of_ones_own_is_told_scores_updates_and_losses() -> None:
    learner, callback = model("DQN"), quiet(f"{__name__}:AtTheFirstLoss")
    learner.learn(60, callback=callback)
    rule = callback._rule
    assert isinstance(rule, AtTheFirstLoss)
    assert learner.seer_frozen_at == rule.due_from
    assert 20 < learner.seer_frozen_at < 40  # learning starts at 20
    assert [metrics.step for metrics in rule.heard] == list(range(1, learner.seer_frozen_at + 1))
    assert (rule.heard[0].updates, rule.heard[-1].updates > 0, rule.heard[-1].cka) == (0, True, None)
    scores = [score for metrics in rule.heard for score in metrics.episode_returns]
    assert 1 <= len(scores) < 5  # episodes last 9 and 14 steps
    assert scores == [game["r"] for game in learner.ep_info_buffer][: len(scores)]
