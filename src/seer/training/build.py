"""From a config to the made parts of a run."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete

from seer.agents.agent import Agent, EncodedNetwork
from seer.agents.curl import Curl
from seer.agents.losses import CategoricalValue, ScalarValue
from seer.agents.optimizers import Adam
from seer.agents.rainbow import Epsilon, Rainbow
from seer.agents.sac import Generators, Sac, SacSettings
from seer.allocator import keep_freed_memory
from seer.config import Config
from seer.core.encoder import FreezableEncoder
from seer.core.flops import FlopsLedger
from seer.core.freeze_rules import FreezeAt, FreezeRule, FreezeWhenSettled
from seer.core.module_stage import ModuleStage
from seer.envs import (
    EnvironmentProcess,
    PixelEnvironment,
    make_atari,
    make_dm_control,
    make_gymnasium,
    seed_shared,
)
from seer.errors import SettingError
from seer.networks.actor_critic import Actor, Bilinear, TwinCritic, initialize
from seer.networks.augment import center_crop, random_crop
from seer.networks.encoders import (
    ConvolutionForm,
    assemble,
    encoder_stages,
)
from seer.networks.heads import ValueHead
from seer.networks.own_module import load_module
from seer.presets import CONTROL
from seer.replay import MemoryBlock, MultiEnvReplay, Prioritized, Replay, RowFormat, Uniform
from seer.replay.make import action_format
from seer.runs.budget import Budget, budget_of
from seer.system_info import free_bytes, own_bytes, usable_cores
from seer.training.drift_monitor import DriftMonitor
from seer.training.evaluation import Evaluator
from seer.training.feature_stability import FeatureStability, least_observations
from seer.training.return_support import ReturnSupport
from seer.training.state import Schedule, TrainingState
from seer.validation import parse_memory

COPIES = 5
"""Of every weight: online, target, gradient and Adam's two moments."""

EVALUATION_EPSILON = 0.001
"""Random actions in evaluation (SEER, Atari protocol)."""

BFLOAT16_PAYS = ("sac", "curl")
"""Agents that are much faster in bfloat16. DQN isn't, and Rainbow little: not worth a doubt about what it learns."""

PARALLEL_GAMES = 10
"""Games that an evaluation plays in lock-step."""


def build(config: Config, environment: PixelEnvironment | None = None) -> TrainingState:
    """Everything a run needs, at its first step; in `environment` without evaluations, if one is given.

    Each part draws from its own generator; all of them descend from `config.seed`.

    Raises:
        SettingError: a setting that only shows to be wrong here, such as an unknown game or a missing device.
    """
    keep_freed_memory()
    device = pick_device(config.device)
    use_threads(config)
    seeds = [int(seed) for seed in np.random.SeedSequence(config.seed).generate_state(7)]
    seed_shared(seeds[4])  # environments may draw from them while they are made
    given = environment is not None
    games = 0 if given else min(PARALLEL_GAMES, config.eval_episodes)
    environment = environment or build_environment(config, training=True)
    agent = build_agent(config, environment, device, [*seeds[:3], seeds[6]])
    budget = build_budget(config, environment, agent)
    refuse_what_cannot_fit(config, budget, device)
    replay = build_replay(config, environment, device, np.random.default_rng(seeds[3]), num_bytes=budget.replay)
    _refuse_small_probe(config, agent, replay)
    ledger = FlopsLedger(agent.cost)
    environment.reset(seed=seeds[4])
    others = () if given else build_others(config)
    return TrainingState(
        agent=agent,
        replay=replay,
        environment=environment,
        others=others,
        evaluator=build_evaluator(config, games=games, seed=seeds[5]),
        freeze_rule=build_freeze_rule(config),
        feature_stability=FeatureStability(observations=config.freeze.probe_size, every=config.freeze.probe_every),
        drift_monitor=DriftMonitor(observations=config.freeze.probe_size, every=config.freeze.probe_every),
        schedule=build_schedule(config),
        ledger=ledger,
        budget=budget.total,
        renew=lambda step: build_agent(config, environment, device, fresh_seeds(config.seed, step)),
        return_support=build_return_support(config),
    )


def build_return_support(config: Config) -> ReturnSupport | None:
    """What watches the returns of an agent whose values are distributions; None for others."""
    value = config.value
    if config.agent not in ("rainbow", "dqn") or not value.distributional:
        return None
    ends = (value.min_return, value.max_return)
    return ReturnSupport(*ends, discount=config.learning.discount, num_envs=config.num_envs)


def _refuse_small_probe(config: Config, agent: Agent[Any], replay: Replay | MultiEnvReplay) -> None:
    if config.freeze.at != "auto":
        return
    blank = torch.zeros(1, *replay.observation_shape, dtype=torch.uint8, device=agent.device)
    least = least_observations(agent, blank)
    limits = {
        "--probe-size": config.freeze.probe_size,  # of so many observations of the newest --probe-every steps
        "--probe-every": config.freeze.probe_every,
        "--replay-memory" if config.replay.memory else "--replay-capacity": replay.capacity,
    }
    flag, looked_at = min(limits.items(), key=lambda limit: limit[1])
    if looked_at < least:
        raise SettingError(
            f"{flag} {looked_at}: --freeze-at auto compares features of no more observations, and those of fewer than "
            f"{least} are always alike; give {least} or more"
        )


def fresh_seeds(seed: int, step: int) -> list[int]:
    """Seeds of an agent whose weights a reset at `step` takes; a run's first agent has others."""
    return [int(each) for each in np.random.SeedSequence([seed, step]).generate_state(4)]


def build_freeze_rule(config: Config) -> FreezeRule:
    """What decides the step of the freeze."""
    freeze = config.freeze
    if freeze.at == "auto":
        return FreezeWhenSettled(
            threshold=freeze.similarity,
            patience=freeze.patience,
            earliest=freeze.earliest,
            latest=freeze.latest,
        )
    if config.freeze_step == 0:
        return FreezeAt(0, reason=f"encoder of {freeze.encoder_from or freeze.encoder_factory}")
    return FreezeAt(config.freeze_step)


def build_environment(config: Config, *, training: bool) -> PixelEnvironment:
    """Atari: life by life with clipped rewards for training, whole games for evaluation. Others: the same for both."""
    environment = environment_maker(config, training=training)()
    environment.time_limit = config.env_timeout
    return environment


def build_others(config: Config) -> list[EnvironmentProcess]:
    """All environments of a run but the first, each with an episode under way."""
    make = environment_maker(config, training=True)
    # Not [seed, 0]: NumPy pads with zeros, so that would be the sequence of the run's own seeds.
    seeds = np.random.SeedSequence([config.seed, 0, 1]).generate_state(config.num_envs - 1)
    others = [EnvironmentProcess(make, time_limit=config.env_timeout, seed=int(seed)) for seed in seeds]
    for other in others:
        other.wait()
    return others


def environment_maker(config: Config, *, training: bool) -> Callable[[], PixelEnvironment]:
    """What makes an environment, here or in another process."""
    return functools.partial(_make_limited, _unlimited_maker(config, training=training), config.max_episode_steps)


def _make_limited(make: Callable[[], PixelEnvironment], max_episode_steps: int | None) -> PixelEnvironment:
    environment = make()
    environment.max_episode_steps = max_episode_steps
    return environment


def _unlimited_maker(config: Config, *, training: bool) -> Callable[[], PixelEnvironment]:
    image = config.image
    options: dict[str, Any] = {"stack": image.stack, "action_repeat": image.action_repeat, "image_size": image.size}
    if config.env.startswith(CONTROL):
        return functools.partial(make_dm_control, config.env, **options)
    if config.has_own_protocol:
        return functools.partial(make_atari, config.env, training=training, **options)
    plain = {"auto": "as shown" if config.agent in ("sac", "curl") else "grey"}
    channels: Any = plain.get(image.channels, image.channels)
    shown = {"channels": channels, "render_pixels": image.render_pixels, "image_key": image.key}
    return functools.partial(make_gymnasium, config.env, **options, **shown)


def build_agent(
    config: Config, environment: PixelEnvironment, device: torch.device, seeds: Sequence[int] = (0, 0, 0, 0)
) -> Agent[Any]:
    """The agent; `seeds` are of weights, noise or policy, exploration, and crops.

    Raises:
        SettingError: the agent can't act in this environment, or its encoder doesn't fit the images.
    """
    torch.manual_seed(seeds[0])  # initial weights come from torch's global generator, and nothing else does
    return _agent_for(config, environment, device, seeds)


def _agent_for(config: Config, environment: PixelEnvironment, device: torch.device, seeds: Sequence[int]) -> Agent[Any]:
    """The agent for the environment's actions."""
    if isinstance(environment.action_space, Discrete):
        _refuse_too_many_actions(config, int(environment.action_space.n), device)
        if config.agent not in ("rainbow", "dqn"):
            raise SettingError(f"--agent {config.agent} needs continuous actions; for {config.env} use rainbow or dqn")
        return build_rainbow(config, environment, int(environment.action_space.n), device, seeds)
    if config.agent not in ("sac", "curl"):
        raise SettingError(f"--agent {config.agent} needs discrete actions; for {config.env} use curl or sac")
    return build_sac(config, environment, math.prod(environment.action_space.shape or ()), device, seeds)


def _refuse_too_many_actions(config: Config, count: int, device: torch.device) -> None:
    """SettingError where the layer of one output per action and atom takes more memory than is free."""
    value, learning = config.value, config.learning
    weights = count * (value.num_atoms if value.distributional else 1) * learning.hidden_units * (1 + value.noisy)
    needed, free = COPIES * 4 * weights, free_on(device) + own_bytes() * (device.type == "cpu")
    if needed > free:
        raise SettingError(
            f"--env {config.env} has {count:,} actions: networks of one output for each take {needed / 1e9:,.2f} GB, "
            f"and {free / 1e9:.2f} GB are free here; give the environment fewer actions, or continuous ones"
        )


def use_threads(config: Config) -> None:
    """Compute on as many threads as the settings say: more than there are free cores make everything crawl."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)


def build_encoder(
    config: Config, environment: PixelEnvironment, *, projections: int = 0, **options: Any
) -> FreezableEncoder:
    """The encoder; with `projections` above its convolutions, one for each of critic and actor.

    `options` are `FreezableEncoder`'s own.
    """
    channels, *_ = environment.frame_shape
    freeze = config.freeze
    own = None if freeze.encoder_factory is None else load_module(freeze.encoder_factory)
    stages = encoder_stages(
        config.learning.encoder if own is None else own,
        (channels, config.view_size, config.view_size),
        stack=environment.stack,
        pool=freeze.latent_pool,
        projections=projections,
        latent_size=config.sac.latent_size,
    )
    frozen = None if freeze.layers == "all" else int(freeze.layers)
    return assemble(
        stages,
        frozen_stages=frozen if own is None else len(stages) - bool(projections),  # these go on learning
        precision=pick_precision(config) if own is None else torch.float32,
        convolution="direct" if projections else pick_convolution(config),
        latent_dtype=freeze.latent_dtype,
        **options,
    )


def pick_precision(config: Config) -> torch.dtype:
    """What the layers compute in, given the setting, the agent and the device."""
    name = config.learning.precision
    if name == "auto":
        pays = config.agent in BFLOAT16_PAYS and _has_bfloat16(pick_device(config.device))
        name = "bfloat16" if pays else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def pick_convolution(config: Config) -> ConvolutionForm:
    """How kernels that lie side by side are computed, given the setting and the device.

    By the processor, not by a timing: the two forms round differently, and a seed has to give the same run.
    """
    if config.learning.convolution != "auto":
        return config.learning.convolution
    wide = pick_device(config.device).type != "cpu" or torch.cpu.get_capabilities().get("avx512_f", False)
    return "direct" if wide else "patches"


def settle_computing(config: Config) -> Config:
    """The settings with "auto" decided for this machine, once: stored latents must stay those of one way to compute."""
    precision: Any = str(pick_precision(config)).removeprefix("torch.")
    settled = {"precision": precision, "convolution": pick_convolution(config)}
    return dataclasses.replace(config, learning=dataclasses.replace(config.learning, **settled))


def describe_computing(config: Config) -> str:
    """One line: device, threads, precision, and what the processor lacks for it."""
    device, precision = pick_device(config.device), str(pick_precision(config)).removeprefix("torch.")
    lacks = not _has_bfloat16(device)
    without = ", slow without bfloat16 instructions" if lacks and precision == "bfloat16" else ""
    if lacks and precision == "float32" and config.agent in BFLOAT16_PAYS:
        without = ", which would be faster with bfloat16 instructions"
    count = torch.get_num_threads()
    cores = usable_cores()
    crawls = f" on {cores} core{'s' * (cores > 1)}, which is slow: give --threads {cores} or less" * (count > cores)
    threads = f", {count} thread{'s' * (count > 1)}{crawls}" if device.type == "cpu" else ""
    return f"Computing on {device}{threads}, layers in {precision}{without}"


def _has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies matrices of bfloat16 faster than of float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def build_rainbow(
    config: Config, environment: PixelEnvironment, num_actions: int, device: torch.device, seeds: Sequence[int]
) -> Rainbow:
    """Rainbow, or what is left of it when parts are off."""
    learning, value = config.learning, config.value
    encoder = build_encoder(config, environment)
    head = ValueHead(
        latent_size=encoder.output_size,
        num_actions=num_actions,
        num_atoms=value.num_atoms if value.distributional else 1,
        hidden_units=learning.hidden_units,
        dueling=value.dueling,
        noisy_sigma=value.noisy_sigma if value.noisy else None,
        precision=pick_precision(config),
    )
    categorical = CategoricalValue(num_atoms=value.num_atoms, minimum=value.min_return, maximum=value.max_return)
    return Rainbow(
        EncodedNetwork(encoder, head).to(device),
        categorical.to(device) if value.distributional else ScalarValue(),
        double=value.double,
        batch_size=learning.batch_size,
        target_every=learning.target_every,
        make_optimizer=adam(learning.learning_rate, eps=learning.adam_epsilon),
        max_gradient_norm=learning.max_gradient_norm,
        epsilon=Epsilon(0, 0, 1) if value.noisy else Epsilon(1, value.epsilon_end, value.epsilon_steps),
        generator=torch.Generator(device).manual_seed(seeds[1]),
        rng=np.random.default_rng(seeds[2]),
    )


def build_sac(
    config: Config, environment: PixelEnvironment, action_size: int, device: torch.device, seeds: Sequence[int]
) -> Sac:
    """SAC or CURL."""
    learning, sac = config.learning, config.sac
    generators = Generators(
        policy=torch.Generator(device).manual_seed(seeds[1]),
        actions=np.random.default_rng(seeds[2]),
        crops=torch.Generator().manual_seed(seeds[3]),
    )
    encoder = build_encoder(
        config,
        environment,
        projections=2,
        view=functools.partial(center_crop, size=config.view_size),
        augment=functools.partial(random_crop, size=config.view_size, generator=generators.crops),
        num_crops=config.freeze.num_crops,
    )
    shape: dict[str, Any] = {
        "latent_size": sac.latent_size,
        "action_size": action_size,
        "hidden_units": learning.hidden_units,
        "precision": pick_precision(config),
    }
    network, actor = EncodedNetwork(encoder, TwinCritic(**shape)), Actor(**shape)
    made = [stage for stage in encoder.stages if not isinstance(stage, ModuleStage)]  # a user's module has its weights
    for part in (*made, network.head, actor):
        part.apply(initialize)
    settings = SacSettings(
        batch_size=learning.batch_size,
        random_steps=sac.random_steps,
        initial_temperature=sac.initial_temperature,
        actor_every=sac.actor_every,
        target_every=learning.target_every,
        critic_tau=sac.critic_tau,
        encoder_tau=sac.encoder_tau,
    )
    similarity = Bilinear(sac.latent_size).to(device)
    curl = functools.partial(Curl, similarity=similarity, contrastive_steps=sac.contrastive_steps)
    make = Sac if config.agent == "sac" else curl
    return make(
        network.to(device),
        actor.to(device),
        settings,
        make_optimizer=adam(learning.learning_rate, eps=learning.adam_epsilon),
        make_temperature_optimizer=adam(sac.temperature_learning_rate, betas=(0.5, 0.999)),
        generators=generators,
    )


def adam(learning_rate: float, **options: Any) -> Callable[[Iterable[torch.nn.Parameter]], Adam]:
    """A maker of Adam optimisers; fused, which is several times as fast on small layers."""
    return functools.partial(Adam, lr=learning_rate, fused=True, **options)


def build_replay(
    config: Config,
    environment: PixelEnvironment,
    device: torch.device,
    rng: np.random.Generator,
    *,
    num_bytes: int,
) -> Replay | MultiEnvReplay:
    """Return the replay, in `num_bytes` bytes of memory; of several environments, one for each."""
    settings, num_envs = config.replay, config.num_envs
    frame = RowFormat(environment.frame_shape, torch.uint8)
    capacity = num_bytes // num_envs // frame.num_bytes
    needed = config.least_capacity
    if capacity < needed:
        asked = f"--replay-memory {settings.memory}" if settings.memory else f"--replay-capacity {settings.capacity}"
        least = needed * num_envs
        megabytes = math.ceil(least * frame.num_bytes / 1e5) / 10
        raise SettingError(
            f"{asked} holds {capacity} frames{' of each environment' * (num_envs > 1)}, less than batch size + n-step, "
            f"{needed}; give at least {f'{megabytes}MB' if settings.memory else least}"
        )
    if num_envs == 1:
        return _one_replay(config, environment, MemoryBlock(num_bytes, device), rng)
    blocks = [MemoryBlock(num_bytes // num_envs, device) for _ in range(num_envs)]
    replays = [
        _one_replay(config, environment, *each, number)
        for number, each in enumerate(zip(blocks, rng.spawn(num_envs), strict=True))
    ]
    return MultiEnvReplay(replays, rng)


def _one_replay(
    config: Config,
    environment: PixelEnvironment,
    memory: MemoryBlock,
    rng: np.random.Generator,
    number: int | None = None,
) -> Replay:
    settings = config.replay
    return Replay(
        memory=memory,
        frame=RowFormat(environment.frame_shape, torch.uint8),
        number=number,
        stack=environment.stack,
        action=action_format(environment.action_space),
        n_step=settings.n_step,
        discount=config.learning.discount,
        sampler=Prioritized(exponent=settings.priority_exponent) if settings.prioritized else Uniform(),
        rng=rng,
    )


SPARE = 16  # for each so many rows there is room for one more: an episode that a time limit cuts takes one


def replay_bytes(config: Config, frame: RowFormat, latent: RowFormat) -> int:
    """Bytes of the replay's memory block; without a setting, of as many frames as there are training steps.

    Where the step of the freeze is known: of the frames until then, or of the latents of all steps if that is more.
    """
    if config.replay.memory is not None:
        return parse_memory(config.replay.memory)
    steps = config.replay.capacity or config.steps
    most = steps * frame.num_bytes
    if config.replay.capacity is not None or config.freeze_step is None:
        return most
    least = config.least_capacity * config.num_envs * frame.num_bytes  # the replay begins as one of frames
    needed = max(config.freeze_step * frame.num_bytes, steps * latent.num_bytes)
    return max(least, min(most, needed + needed // SPARE))


def build_budget(config: Config, environment: PixelEnvironment, agent: Agent[Any]) -> Budget:
    """What the run takes of memory at most, on its device, wherever the agent is now."""
    frame = RowFormat(environment.frame_shape, torch.uint8)
    return budget_of(
        agent,
        on_gpu=pick_device(config.device).type != "cpu",
        batch_size=config.learning.batch_size,
        replay=replay_bytes(config, frame, agent.latent),
        frame=frame,
        stack=environment.stack,
        action=action_format(environment.action_space),
    )


def refuse_what_cannot_fit(config: Config, budget: Budget, device: torch.device) -> None:
    """SettingError, with the size that would fit, where the replay and all else take more memory than is left."""
    free, needed = free_on(device), budget
    if device.type == "cuda":  # where the memory block is; what a GPU needs besides is far less than it has
        needed = dataclasses.replace(budget, index=0, rest=0)
    else:
        free += own_bytes()
    if needed.total <= free:
        return
    flag = "--replay-memory" if config.replay.memory else "--replay-capacity"
    fits = needed.replay_within(free)
    remedy = (
        f"give --replay-memory {fits // 10**6}MB or less" if fits >= 10**6 else "free some, or use smaller networks"
    )
    others = needed.total - needed.replay
    raise SettingError(
        f"{flag} asks for {budget.replay / 1e9:.2f} GB; with {others / 1e9:.2f} GB for all else that is more than the "
        f"{free / 1e9:.2f} GB that are free here: {remedy}"
    )


def free_on(device: torch.device) -> int:
    """Bytes of memory left where a replay on this device lies."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_bytes()


def build_evaluator(config: Config, *, games: int, seed: int) -> Evaluator:
    """Plays up to `games` whole games at a time."""
    environments = [build_environment(config, training=False) for _ in range(games)]
    discrete = all(isinstance(environment.action_space, Discrete) for environment in environments)
    return Evaluator(environments, epsilon=EVALUATION_EPSILON if discrete else 0.0, seed=seed)


def build_schedule(config: Config) -> Schedule:
    """When things happen."""
    return Schedule(
        steps=config.steps,
        first_update=config.first_update,
        updates_per_step=config.learning.updates_per_step,
        batch_size=config.learning.batch_size,
        importance_exponent=config.replay.importance_exponent,
        log_every=config.log_every,
        eval_every=config.eval_every,
        eval_episodes=config.eval_episodes,
        checkpoint_every=config.checkpoint_every,
        probe_every=config.freeze.probe_every,
        reset_every=config.learning.reset_heads_every,
        reset_encoder=config.learning.reset_encoder,
        snapshot_every=config.snapshot_every,
    )


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
