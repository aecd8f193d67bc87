"""From a config to the made parts of a run; the only reader of both configuration and classes."""

import functools

import numpy as np
import torch
from gymnasium.spaces import Discrete

from seer.agents.losses import CategoricalValue, ScalarValue
from seer.agents.rainbow import Epsilon, QNetwork, Rainbow
from seer.allocator import keep_freed_memory
from seer.config import Config, parse_memory
from seer.environments import PixelEnvironment, make_atari
from seer.errors import SettingError
from seer.flops import FlopsLedger
from seer.freezing import FreezeAt
from seer.networks.encoders import ATARI_ENCODERS, ConvEncoder
from seer.networks.heads import ValueHead
from seer.replay import Arena, Prioritized, Replay, RowFormat, Uniform
from seer.training.evaluation import Evaluator
from seer.training.parts import Schedule, Training

EVALUATION_EPSILON = 0.001
"""Random actions in evaluation (SEER, Atari protocol)."""

PARALLEL_GAMES = 10
"""Games that an evaluation plays in lock-step."""


def build(config: Config) -> Training:
    """Everything a run needs, at its first step.

    Each part draws from its own generator; all of them descend from `config.seed`.

    Raises:
        SettingError: a setting that only shows to be wrong here, such as an unknown game or a missing device.
    """
    keep_freed_memory()
    device = pick_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    seeds = [int(seed) for seed in np.random.SeedSequence(config.seed).generate_state(6)]
    environment = build_environment(config, training=True)
    agent = build_agent(config, environment, device, seeds[:3])
    replay = build_replay(config, environment, device, np.random.default_rng(seeds[3]))
    ledger = FlopsLedger(agent.cost)
    observation, _ = environment.reset(seed=seeds[4])
    return Training(
        agent=agent,
        replay=replay,
        environment=environment,
        evaluator=build_evaluator(config, games=min(PARALLEL_GAMES, config.eval_episodes), seed=seeds[5]),
        freezing=FreezeAt(config.freeze_step),
        schedule=build_schedule(config),
        ledger=ledger,
        observation=observation,
    )


def build_environment(config: Config, *, training: bool) -> PixelEnvironment:
    """The game: life by life with clipped rewards for training, whole with its own score for evaluation."""
    return make_atari(config.env, training=training)


def build_agent(config: Config, environment: PixelEnvironment, device: torch.device, seeds: list[int]) -> Rainbow:
    """Rainbow, or what is left of it when parts are off; `seeds` are of weights, noise and exploration."""
    learning, value = config.learning, config.value
    torch.manual_seed(seeds[0])  # initial weights come from torch's global generator, and nothing else does
    encoder = ConvEncoder(
        stack=environment.stack, frame_shape=environment.frame_shape, layers=ATARI_ENCODERS[learning.encoder]
    )
    head = ValueHead(
        latent_size=encoder.latent_size,
        num_actions=num_actions(environment),
        num_atoms=value.num_atoms if value.distributional else 1,
        hidden_units=learning.hidden_units,
        dueling=value.dueling,
        noisy_sigma=value.noisy_sigma if value.noisy else None,
    )
    categorical = CategoricalValue(num_atoms=value.num_atoms, minimum=value.min_return, maximum=value.max_return)
    return Rainbow(
        QNetwork(encoder, head).to(device),
        categorical.to(device) if value.distributional else ScalarValue(),
        double=value.double,
        batch_size=learning.batch_size,
        target_every=learning.target_every,
        make_optimizer=functools.partial(
            torch.optim.Adam, lr=learning.learning_rate, eps=learning.adam_epsilon, fused=True
        ),
        max_gradient_norm=learning.max_gradient_norm,
        epsilon=Epsilon(0, 0, 1) if value.noisy else Epsilon(1, value.epsilon_end, value.epsilon_steps),
        generator=torch.Generator(device).manual_seed(seeds[1]),
        rng=np.random.default_rng(seeds[2]),
    )


def build_replay(
    config: Config, environment: PixelEnvironment, device: torch.device, rng: np.random.Generator
) -> Replay:
    """The replay, in an arena of `--replay-memory` bytes or `--replay-capacity` frames."""
    settings = config.replay
    frame = RowFormat(environment.frame_shape, torch.uint8)
    capacity = replay_bytes(config, frame) // frame.num_bytes
    needed = config.learning.batch_size + settings.n_step
    if capacity < needed:
        raise SettingError(
            f"--replay-memory {settings.memory} holds {capacity} frames, less than batch size + n-step; "
            f"give at least {needed * frame.num_bytes / 1e6:.1f}MB"
        )
    return Replay(
        arena=Arena(replay_bytes(config, frame), device),
        frame=frame,
        stack=environment.stack,
        action=RowFormat((), torch.int64),
        n_step=settings.n_step,
        discount=config.learning.discount,
        sampler=Prioritized(exponent=settings.priority_exponent) if settings.prioritized else Uniform(),
        rng=rng,
    )


def replay_bytes(config: Config, frame: RowFormat) -> int:
    """Bytes of the replay's arena; without a setting it holds as many frames as there are training steps."""
    if config.replay.memory is not None:
        return parse_memory(config.replay.memory)
    return (config.replay.capacity or config.steps) * frame.num_bytes


def build_evaluator(config: Config, *, games: int, seed: int) -> Evaluator:
    """Plays up to `games` whole games at a time."""
    environments = [build_environment(config, training=False) for _ in range(games)]
    return Evaluator(environments, epsilon=EVALUATION_EPSILON, seed=seed)


def build_schedule(config: Config) -> Schedule:
    """When things happen."""
    return Schedule(
        steps=config.steps,
        first_update=max(config.learning.first_update, config.replay.n_step + 1),
        updates_per_step=config.learning.updates_per_step,
        batch_size=config.learning.batch_size,
        importance_exponent=config.replay.importance_exponent,
        log_every=config.log_every,
        eval_every=config.eval_every,
        eval_episodes=config.eval_episodes,
        checkpoint_every=config.checkpoint_every,
    )


def num_actions(environment: PixelEnvironment) -> int:
    """Actions of a discrete environment."""
    assert isinstance(environment.action_space, Discrete)
    return int(environment.action_space.n)


def pick_device(name: str) -> torch.device:
    """The device a `--device` setting means; auto takes a GPU if there is one.

    Raises:
        SettingError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise SettingError(f"--device {name} is not available here; use --device cpu or auto") from None
    return device
