"""Build the parts of a run from its config."""

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete

from seer.agents.agent import Agent
from seer.agents.registry import AGENTS
from seer.allocator import keep_freed_memory
from seer.config import Config
from seer.core.feature_stability import FeatureStability, least_observations
from seer.core.flops import FlopsLedger
from seer.core.freeze_rules import FreezeRule
from seer.envs.randomness import seed_shared
from seer.errors import SettingError
from seer.replay import MultiEnvReplay, Replay
from seer.training.budget import build_budget, refuse_what_cannot_fit
from seer.training.build_agent import build_agent
from seer.training.build_environment import build_environment, build_others
from seer.training.build_replay import build_replay
from seer.training.computing import pick_device, use_threads
from seer.training.drift_monitor import DriftMonitor
from seer.training.evaluation import Evaluator
from seer.training.return_support import ReturnSupport
from seer.training.state import TrainingState

EVALUATION_EPSILON = 0.001
"""Share of random actions in evaluation (SEER, Atari protocol)."""

PARALLEL_GAMES = 10
"""Number of games that an evaluation plays in lock-step."""


def build(config: Config) -> TrainingState:
    """Return everything that a run needs, at its first step.

    Each part draws from its own generator; all of them descend from `config.seed`.
    """
    keep_freed_memory()
    device = pick_device(config.device)
    use_threads(config)
    seeds = [int(seed) for seed in np.random.SeedSequence(config.seed).generate_state(7)]
    seed_shared(seeds[4])  # environments may draw from them while they are made
    environment = build_environment(config, training=True)
    agent = build_agent(config, environment, device, [*seeds[:3], seeds[6]])
    budget = build_budget(config, environment, agent)
    refuse_what_cannot_fit(config, budget, device)
    if config.compile:
        agent.compile_loss()
    replay = build_replay(config, environment, device, np.random.default_rng(seeds[3]), num_bytes=budget.replay)
    ledger = FlopsLedger(agent.cost)
    environment.reset(seed=seeds[4])
    return TrainingState(
        config=config,
        agent=agent,
        replay=replay,
        environment=environment,
        others=build_others(config),
        evaluator=build_evaluator(config, games=min(PARALLEL_GAMES, config.eval_episodes), seed=seeds[5]),
        freeze_rule=build_freeze_rule(config, agent, replay),
        feature_stability=FeatureStability(observations=config.freeze.probe_size, every=config.freeze.probe_every),
        drift_monitor=DriftMonitor(observations=config.freeze.probe_size, every=config.freeze.probe_every),
        ledger=ledger,
        budget=budget.total,
        renew=lambda step: build_agent(config, environment, device, fresh_seeds(config.seed, step)),
        return_support=build_return_support(config),
    )


def build_return_support(config: Config) -> ReturnSupport | None:
    """Return the check of returns for an agent whose values are distributions; None for others."""
    value = config.value
    if not (AGENTS[config.agent].has_distributions and value.distributional):
        return None
    ends = (value.min_return, value.max_return)
    return ReturnSupport(*ends, discount=config.learning.discount, num_envs=config.num_envs)


def build_freeze_rule(config: Config, agent: Agent[Any], replay: Replay | MultiEnvReplay) -> FreezeRule:
    """Return the rule that decides the freeze; SettingError where it compares features of too few observations."""
    rule = config.freeze.make_rule()
    if not rule.compares_features:
        return rule
    blank = torch.zeros(1, *replay.observation_shape, dtype=torch.uint8, device=agent.device)
    least = least_observations(agent.online.encoder, blank)
    limits = {
        "--probe-size": config.freeze.probe_size,  # of so many observations of the newest --probe-every steps
        "--probe-every": config.freeze.probe_every,
        "--replay-memory" if config.replay.memory else "--replay-capacity": replay.capacity,
    }
    flag, looked_at = min(limits.items(), key=lambda limit: limit[1])
    if looked_at < least:
        raise SettingError(
            f"{flag} {looked_at}: --freeze-at {config.freeze.at} compares features of no more observations, and those "
            f"of fewer than {least} are always alike; give {least} or more"
        )
    return rule


def fresh_seeds(seed: int, step: int) -> list[int]:
    """Return the seeds of the agent that gives a reset at `step` its weights; a run's first agent has others."""
    return [int(each) for each in np.random.SeedSequence([seed, step]).generate_state(4)]


def build_evaluator(config: Config, *, games: int, seed: int) -> Evaluator:
    """Return an evaluator that plays up to `games` whole games at a time."""
    environments = [build_environment(config, training=False) for _ in range(games)]
    discrete = all(isinstance(environment.action_space, Discrete) for environment in environments)
    return Evaluator(environments, epsilon=EVALUATION_EPSILON if discrete else 0.0, seed=seed)
