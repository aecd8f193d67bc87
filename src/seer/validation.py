"""Check how settings fit each other, before anything is built; the bounds of each stand beside its field."""

import re

from seer.agents.registry import AGENTS
from seer.config import Config, FreezeConfig, fields_with
from seer.envs.registry import suite_of
from seer.errors import SettingError
from seer.fields import value_of
from seer.runs.outputs import refuse_unknown


def parse_memory(text: str, *, flag: str = "--replay-memory") -> int:
    """Bytes of a size such as 70MB, 1.5 GB or 64MiB (decimal and binary units; a bare number is bytes)."""
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


FITTED = 256
"""Observations of each environment that int8 latents need at the freeze, at least."""


def validate(config: Config, *, new: bool = True) -> Config:
    """Check everything that can be known before anything is built; of a `new` run, also whether its freeze makes sense.

    Raises:
        SettingError: naming the first setting that is wrong, and the remedy.
    """
    for field in fields_with(config.own):
        if complaint := field.complaint(value_of(config, field.name)):
            raise SettingError(complaint)
    value = config.value
    _require(
        value.min_return < value.max_return,
        f"--min-return {value.min_return} must be less than --max-return {value.max_return}",
    )
    paths = {"--out": config.out, "--encoder-from": config.freeze.encoder_from, "--from": config.freeze.agent_from}
    for flag, path in paths.items():
        _require("\0" not in (path or ""), f"{flag} holds a NUL character; give another name")
    _require(config.replay_on != "", "--replay-on names no folder; give one on a disk, or leave it out")
    over = config.steps % config.num_envs
    _require(
        over == 0,
        f"--steps {config.steps} is no multiple of --num-envs {config.num_envs}, which act together; give "
        f"{config.steps - over + config.num_envs}",
    )
    refuse_unknown(config.log)
    _validate_environment(config)
    _validate_pictures(config)
    _validate_replay(config)
    _validate_freeze(config)
    if new:
        _validate_moment(config)
    return config


def _validate_environment(config: Config) -> None:
    suite = suite_of(config.env)
    given = {
        "env_kwargs": (
            config.env_kwargs,
            f"--env-kwargs {' '.join(config.env_kwargs)}: {config.env} is made as the paper says",
        ),
        "sticky_actions": (config.sticky_actions, f"--sticky-actions {config.sticky_actions} is for Atari games"),
        "full_action_space": (config.full_action_space, "--full-action-space is for Atari games"),
    }
    for name, (value, complaint) in given.items():
        _require(not value or name in suite.options, f"{complaint}; leave it out")


def _validate_pictures(config: Config) -> None:
    image = config.image
    given = {
        "--render-pixels": image.render_pixels,
        f"--cameras {' '.join(image.cameras)}": bool(image.cameras),
        f"--image-channels {image.channels}": image.channels != "auto",
    }
    for flag, used in given.items():
        _require(
            not (used and suite_of(config.env).own_protocol),
            f"{flag}: how {config.env} is shown follows the paper; leave it out",
        )
    _require(
        not (image.render_pixels and image.cameras),
        f"--cameras {' '.join(image.cameras)} are parts of observations, which --render-pixels replaces; give one of "
        "them",
    )
    _require(
        image.vectors in ((), ("none",)) or suite_of(config.env).has_vectors,
        f"--vectors {' '.join(image.vectors)}: {config.env} shows pictures alone; leave it out",
    )
    for flag, names in (("cameras", image.cameras), ("vectors", image.vectors)):
        _require(len(set(names)) == len(names), f"--{flag} {' '.join(names)} names one twice; give each once")


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


def _validate_weights(config: Config) -> None:
    """One run, or one module, is where the weights come from."""
    freeze = config.freeze
    brought = {
        "--from": freeze.agent_from, "--encoder-from": freeze.encoder_from,
        "--encoder-factory": freeze.encoder_factory, "--encoder-weights": freeze.encoder_weights,
    }  # fmt: skip
    for flag, other in (
        ("--encoder-from", "--from"), ("--encoder-weights", "--from"), ("--encoder-from", "--encoder-factory")
    ):  # fmt: skip
        _require(brought[flag] is None or brought[other] is None, f"{flag} and {other} each bring an encoder; give one")
    _require(
        freeze.agent_from is not None or not freeze.keep_optimizers,
        "--keep-optimizers goes on with another run's; say which by --from",
    )
    _require(
        freeze.encoder_weights is None or freeze.encoder_factory is not None,
        "--encoder-weights are those of a module of your own; say which by --encoder-factory",
    )


def last_freeze(config: Config) -> tuple[str, int | None]:
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
    flag, step = last_freeze(config)
    fitted = FITTED * config.num_envs
    _require(
        freeze.latent_dtype != "int8" or step is None or step >= fitted,
        f"--latent-dtype int8 fits its range to the observations stored at the freeze, too few with {flag} {step}: "
        f"give {fitted} or more, or use --latent-dtype float16",
    )


def _validate_freeze(config: Config) -> None:
    at, freeze, choice = config.freeze.at, config.freeze, config.freeze.choice
    if choice.step is not None:
        least = 0 if freeze.agent_from or freeze.encoder_from or freeze.encoder_factory else 1
        _require(
            choice.step >= least,
            f"--freeze-at {at}: the first step is 1; give 1 or more, auto, never, or an encoder by --encoder-from",
        )
        remedy = (
            f"give a step between the first update, {config.first_update}, and the end, or never"
            if config.first_update < config.steps
            else f"first update comes at {config.first_update}: give more --steps or a lower --first-update, or never"
        )
        _require(choice.step <= config.steps, f"--freeze-at {at} is past the end at --steps {config.steps}; {remedy}")
    _validate_weights(config)
    _validate_latents(config)
    _require(
        choice.rule is not None or freeze.latest is None,
        f"--freeze-latest {freeze.latest} bounds --freeze-at auto, and --freeze-at is {at}; leave one of them out",
    )
    if choice.rule is not None:
        _validate_automatic(config)
    _require(
        freeze.layers == "all" or re.fullmatch(r"[1-9][0-9]{0,17}", freeze.layers) is not None,
        f"--freeze-layers {freeze.layers!r} is no number of layers; give 1 or more, or all",
    )
    _validate_views(config)


def _validate_automatic(config: Config) -> None:
    freeze = config.freeze
    own = freeze.choice.rule == freeze.at  # a rule of the user's, which may know no earliest step
    earliest = 0 if own and freeze.earliest == FreezeConfig.earliest else freeze.earliest
    _require(
        freeze.latest is None or max(1, earliest) <= freeze.latest <= config.steps,
        f"--freeze-latest {freeze.latest} must lie between --freeze-earliest {earliest}, 1 at least, and "
        f"--steps {config.steps}",
    )


def _validate_moment(config: Config) -> None:
    """The freeze can come, and not before anything was learnt."""
    freeze, first = config.freeze, config.first_update
    flag, step = last_freeze(config)
    learning, window = config.learning, (config.replay.n_step + 1) * config.num_envs
    lower = "--first-update" if learning.first_update >= window else "--n-step or --num-envs"
    lower += " or --update-every" * (learning.update_every > 1)
    _require(
        not step or step > first or (freeze.agent_from or freeze.encoder_from) is not None,
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


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise SettingError(message)
