"""What can be known to be wrong with the settings before anything is built."""

import re

from seer.agents.registry import AGENTS
from seer.agents.settings import ValueConfig
from seer.config import Config, FreezeConfig
from seer.envs.registry import suite_of
from seer.errors import SettingError
from seer.runs.outputs import refuse_unknown


def parse_memory(text: str, *, flag: str = "--replay-memory") -> int:
    """Bytes of a size such as 70MB, 1.5 GB or 64MiB (decimal and binary units; a bare number is bytes).

    Raises:
        SettingError: the text is no size.
    """
    units = {"": 1, "B": 1} | {
        prefix + unit: base**power
        for power, prefix in enumerate("KMGT", start=1)
        for unit, base in (("B", 1000), ("iB", 1024))
    }
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?i?B|)\s*", text)
    unit = match[2].replace("k", "K") if match else ""
    if match is None or unit not in units or not 1 <= float(match[1]) * units[unit] < 2**63:
        raise SettingError(f"{flag} {text!r} is no size; write it as 70MB, 1.5GB or 64MiB")
    return int(float(match[1]) * units[unit])


MOST = {
    "--frame-stack": 64, "--image-size": 1024, "--crop-size": 1024, "--num-crops": 256, "--batch-size": 65_536,
    "--hidden-units": 65_536, "--latent-size": 65_536, "--n-step": 10_000, "--action-repeat": 1000,
    "--num-envs": 256, "--eval-episodes": 100_000, "--updates-per-step": 1000, "--env-timeout": 10**6,
}  # fmt: skip
"""Beyond these a setting is a slip of the pen that would take all memory, or for ever."""

FITTED = 256
"""Observations of each environment that int8 latents need at the freeze, at least."""


def validate(config: Config, *, new: bool = True) -> Config:
    """Check everything that can be known before anything is built; of a `new` run, also whether its freeze makes sense.

    Raises:
        SettingError: naming the first setting that is wrong, and the remedy.
    """
    _validate_numbers(config)
    _validate_fractions(config)
    _validate_values(config.value)
    steps = config.sac.contrastive_steps
    _require(steps in (1, 2), f"--contrastive-steps {steps} must be 1 or 2")
    _require(config.threads is None or config.threads > 0, f"--threads {config.threads} must be more than 0")
    _require(config.threads is None or config.threads <= 1024, f"--threads {config.threads} must be 1,024 or less")
    _require("\0" not in (config.out or ""), "--out holds a NUL character; give another name")
    _require("\0" not in (config.freeze.encoder_from or ""), "--encoder-from holds a NUL character; give another name")
    over = config.steps % config.num_envs
    _require(
        over == 0,
        f"--steps {config.steps} is no multiple of --num-envs {config.num_envs}, which act together; give "
        f"{config.steps - over + config.num_envs}",
    )
    refuse_unknown(config.log)
    _validate_pictures(config)
    _validate_replay(config)
    _validate_freeze(config)
    if new:
        _validate_moment(config)
    return config


def _validate_numbers(config: Config) -> None:
    """What counts, and must be more than 0, and what may be 0."""
    learning, replay = config.learning, config.replay
    positive = {
        "--num-envs": config.num_envs, "--steps": config.steps,
        "--eval-every": config.eval_every, "--eval-episodes": config.eval_episodes,
        "--checkpoint-every": config.checkpoint_every, "--log-every": config.log_every,
        "--batch-size": learning.batch_size, "--hidden-units": learning.hidden_units,
        "--learning-rate": learning.learning_rate, "--adam-epsilon": learning.adam_epsilon,
        "--max-gradient-norm": learning.max_gradient_norm, "--target-every": learning.target_every,
        "--updates-per-step": learning.updates_per_step, "--n-step": replay.n_step,
        "--env-timeout": config.env_timeout,
        "--image-size": config.image.size, "--crop-size": config.view_size, "--frame-stack": config.image.stack,
        "--action-repeat": config.image.action_repeat, "--latent-size": config.sac.latent_size,
        "--initial-temperature": config.sac.initial_temperature, "--actor-every": config.sac.actor_every,
        "--temperature-learning-rate": config.sac.temperature_learning_rate,
        "--num-crops": config.freeze.num_crops, "--freeze-patience": config.freeze.patience,
        "--probe-every": config.freeze.probe_every, "--epsilon-steps": config.value.epsilon_steps,
    }  # fmt: skip
    optional = {
        "--reset-heads-every": learning.reset_heads_every, "--snapshot-every": config.snapshot_every,
        "--latent-pool": config.freeze.latent_pool, "--max-episode-steps": config.max_episode_steps,
    }  # fmt: skip
    positive |= {flag: number for flag, number in optional.items() if number is not None}
    for flag, number in positive.items():
        _require(number > 0, f"{flag} {number} must be more than 0")
        _require(number <= MOST.get(flag, 10**12), f"{flag} {number} must be {MOST.get(flag, 10**12):,} or less")
    _require(0 <= config.seed < 2**63, f"--seed {config.seed} must be 0 or more, and less than 2^63")
    _require(learning.first_update >= 0, f"--first-update {learning.first_update} must be 0 or more")


def _validate_fractions(config: Config) -> None:
    learning, replay = config.learning, config.replay
    fractions = {
        "--discount": learning.discount, "--priority-exponent": replay.priority_exponent,
        "--importance-exponent": replay.importance_exponent, "--epsilon-end": config.value.epsilon_end,
        "--critic-tau": config.sac.critic_tau, "--encoder-tau": config.sac.encoder_tau,
        "--freeze-similarity": config.freeze.similarity,
    }  # fmt: skip
    for flag, number in fractions.items():
        _require(0 <= number <= 1, f"{flag} {number} must lie between 0 and 1")


def _validate_values(value: ValueConfig) -> None:
    """The parts of Rainbow."""
    _require(value.num_atoms >= 2, f"--num-atoms {value.num_atoms} must be 2 or more")
    _require(value.noisy_sigma >= 0, f"--noisy-sigma {value.noisy_sigma} must be 0 or more")
    _require(value.noisy_sigma < 1e6, f"--noisy-sigma {value.noisy_sigma} must be less than 1e6")
    _require(
        value.min_return > -1e12 and value.max_return < 1e12,
        f"--min-return {value.min_return} and --max-return {value.max_return} must be finite",
    )
    _require(
        value.min_return < value.max_return,
        f"--min-return {value.min_return} must be less than --max-return {value.max_return}",
    )
    _require(value.num_atoms <= 10_001, f"--num-atoms {value.num_atoms} must be 10,001 or less")


def _validate_pictures(config: Config) -> None:
    image = config.image
    given = {
        "--render-pixels": image.render_pixels,
        f"--image-key {image.key}": image.key is not None,
        f"--image-channels {image.channels}": image.channels != "auto",
    }
    for flag, used in given.items():
        _require(
            not (used and suite_of(config.env).own_protocol),
            f"{flag}: how {config.env} is shown follows the paper; leave it out",
        )
    _require(
        not (image.render_pixels and image.key is not None),
        f"--image-key {image.key} is a part of observations, which --render-pixels replaces; give one of them",
    )


def _validate_replay(config: Config) -> None:
    replay, needed = config.replay, config.least_capacity * config.num_envs
    several = config.num_envs > 1
    _require(
        not replay.prioritized or AGENTS[config.agent].has_priorities,
        f"--prioritized: {config.agent} has no priorities to sample by; leave it out",
    )
    if replay.memory is not None:
        _require(
            replay.capacity is None,
            "--replay-memory and --replay-capacity say the same thing; give one of them",
        )
        parse_memory(replay.memory)
    if replay.capacity is not None:
        _require(
            replay.capacity >= needed,
            f"--replay-capacity {replay.capacity} is less than batch size + n-step{' of each environment' * several}; "
            f"give at least {needed}",
        )


def _validate_own_encoder(freeze: FreezeConfig) -> None:
    _require(
        freeze.encoder_weights is None or freeze.encoder_factory is not None,
        "--encoder-weights are those of a module of your own; say which by --encoder-factory",
    )
    if freeze.encoder_factory is not None:
        _require(freeze.encoder_from is None, "--encoder-from and --encoder-factory each bring an encoder; give one")
        _require(
            freeze.choice.step == 0,
            f"--freeze-at {freeze.at}: the module of --encoder-factory never learns here; leave it out",
        )
        _require(
            freeze.layers in ("all", "1"),
            f"--freeze-layers {freeze.layers}: the module of --encoder-factory is one layer; leave it out",
        )


def _last_freeze(config: Config) -> tuple[str, int | None]:
    """Return the step by which the run is frozen, if there is one, and the flag that says so."""
    if config.freeze.choice.rule is not None:
        return "--freeze-latest", config.freeze.latest
    return "--freeze-at", config.freeze_step


def _validate_latents(config: Config) -> None:
    freeze = config.freeze
    if freeze.latent_pool is not None:
        _require(
            freeze.encoder_factory is not None or not AGENTS[config.agent].projects,
            f"--latent-pool {freeze.latent_pool}: {config.agent} stores its projections' latents, which are small "
            "anyway; leave it out",
        )
        _require(
            freeze.layers == "all",
            f"--latent-pool {freeze.latent_pool} shrinks what the whole encoder gives, and --freeze-layers "
            f"{freeze.layers} stores less; give one of them",
        )
    flag, step = _last_freeze(config)
    fitted = FITTED * config.num_envs
    _require(
        freeze.latent_dtype != "int8" or step is None or step >= fitted,
        f"--latent-dtype int8 fits its range to the observations stored at the freeze, too few with {flag} {step}: "
        f"give {fitted} or more, or use --latent-dtype float16",
    )


def _validate_freeze(config: Config) -> None:
    at, freeze, choice = config.freeze.at, config.freeze, config.freeze.choice
    if choice.step is not None:
        least = 0 if freeze.encoder_from or freeze.encoder_factory else 1
        _require(
            choice.step >= least,
            f"--freeze-at {at}: the first step is 1; give 1 or more, auto, never, or an encoder by --encoder-from",
        )
        _require(
            choice.step <= config.steps,
            f"--freeze-at {at} is past the end at --steps {config.steps}; give {_steps_to_freeze_at(config)}",
        )
    _validate_own_encoder(freeze)
    _validate_latents(config)
    _require(
        choice.rule is not None or freeze.latest is None,
        f"--freeze-latest {freeze.latest} bounds --freeze-at auto, and --freeze-at is {at}; leave one of them out",
    )
    if choice.rule is not None:
        _validate_automatic(config)
    _require(freeze.probe_size >= 2, f"--probe-size {freeze.probe_size} must be 2 or more")
    _require(freeze.probe_size <= 65_536, f"--probe-size {freeze.probe_size} must be 65,536 or less")
    _require(
        not config.learning.reset_encoder or config.learning.reset_heads_every is not None,
        "--reset-encoder says what a reset takes along; say how often by --reset-heads-every",
    )
    _require(
        not config.learning.reset_encoder or choice.is_never,
        f"--reset-encoder: latents are stored from --freeze-at {at} on and would be those of an encoder that is gone; "
        "reset the heads alone, or use --freeze-at never",
    )
    _require(
        freeze.layers == "all" or (_is_count(freeze.layers) and int(freeze.layers) >= 1),
        f"--freeze-layers {freeze.layers!r} is no number of layers; give 1 or more, or all",
    )
    _validate_views(config)


def _steps_to_freeze_at(config: Config) -> str:
    first = config.first_update
    if config.steps > first:
        return f"--freeze-at {first + 1} to {config.steps}, or never"
    return (
        f"more steps, as updates begin at step {first}, or a lower --first-update, and a --freeze-at between; or never"
    )


def _validate_automatic(config: Config) -> None:
    freeze = config.freeze
    _require(freeze.earliest >= 0, f"--freeze-earliest {freeze.earliest} must be 0 or more")
    _require(
        freeze.latest is None or max(1, freeze.earliest) <= freeze.latest <= config.steps,
        f"--freeze-latest {freeze.latest} must lie between --freeze-earliest {freeze.earliest}, 1 at least, and "
        f"--steps {config.steps}",
    )


def _validate_moment(config: Config) -> None:
    """The freeze can come, and not before anything was learnt."""
    freeze, first = config.freeze, config.first_update
    flag, step = _last_freeze(config)
    lower = "--first-update" if first == config.learning.first_update else "--n-step or --num-envs"
    _require(
        not step or step > first or freeze.encoder_from is not None,
        f"{flag} {step} freezes an encoder that never learnt, as updates begin at step {first}: give more, or a lower "
        f"{lower}",
    )
    decided = freeze.make_rule().earliest_step(probe_every=freeze.probe_every, first_update=first)
    _require(
        decided <= config.steps,
        f"--freeze-at {freeze.at} can't decide before step {decided} with --freeze-earliest {freeze.earliest}, "
        f"--probe-every {freeze.probe_every}, --freeze-patience {freeze.patience} and updates from step {first} on, "
        f"past the end at --steps {config.steps}: lower one of these, or give --freeze-latest or a step",
    )


def _validate_views(config: Config) -> None:
    size, view, views = config.image.size, config.view_size, AGENTS[config.agent].views
    _require(view <= size, f"--crop-size {view} is more than --image-size {size}; give less")
    _require(
        view == size or views == "crops",
        f"--crop-size {view}: --agent {config.agent} crops nothing; leave it out",
    )
    _require(
        config.freeze.num_crops == 1 or view < size or views == "shifts",
        f"--num-crops {config.freeze.num_crops}: without cropping every crop is the same; use --num-crops 1",
    )


def _is_count(text: str) -> bool:
    return text.isascii() and re.fullmatch(r"0|[1-9]\d{0,17}", text) is not None


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise SettingError(message)
