"""Settings: the paper's presets, flags over them, and what a run records."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import pytest
import torch

from refusing import PONG
from seer.config import Config, config_from_json, config_to_json
from seer.errors import SettingError
from seer.presets import preset
from seer.training.build import build_agent
from seer.validation import parse_memory
from tiny_run import config_of

FREEZE_AT = {
    "Alien": 50_000, "Amidar": 50_000, "BankHeist": 50_000, "CrazyClimber": 100_000,
    "Krull": 50_000, "Qbert": 100_000, "RoadRunner": 50_000, "Seaquest": 50_000,
}  # fmt: skip


@pytest.mark.parametrize(("game", "step"), FREEZE_AT.items())
def test_the_papers_games_freeze_when_the_paper_says(game: str, step: int) -> None:
    assert config_of(["--env", f"ALE/{game}-v5"]).freeze_step == step
    assert preset(f"ALE/{game}-v5", "dqn").freeze_step == step


def test_other_games_get_the_common_step() -> None:
    assert config_of(list(PONG)).freeze_step == 50_000


def test_the_papers_settings() -> None:
    """SPEC, section 3."""
    config = config_of(["--env", "ALE/Alien-v5"])
    learning, value, replay = config.learning, config.value, config.replay
    assert (config.steps, config.eval_every, config.eval_episodes) == (500_000, 10_000, 10)
    assert (learning.first_update, learning.batch_size, learning.hidden_units) == (1600, 32, 256)
    assert (learning.discount, learning.learning_rate, learning.adam_epsilon) == (0.99, 1e-4, 1.5e-4)
    assert (learning.max_gradient_norm, learning.target_every, learning.updates_per_step) == (10, 2000, 1)
    assert (learning.encoder, config.freeze.num_crops) == ("data-efficient", 1)
    assert (value.num_atoms, value.min_return, value.max_return, value.noisy_sigma) == (51, -10, 10, 0.1)
    assert (value.double, value.dueling, value.noisy, value.distributional) == (True, True, True, True)
    assert (replay.prioritized, replay.priority_exponent, replay.importance_exponent, replay.n_step) == (
        True, 0.5, 0.4, 20,
    )  # fmt: skip
    assert replay.memory is replay.capacity is None  # as large as the run


CONTROL = {
    # action repeat, steps, T_f, batch, learning rate, evaluation
    "cartpole-swingup": (8, 80_000, 10_000, 128, 1e-3, 2500),
    "finger-spin": (2, 250_000, 50_000, 128, 1e-3, 10_000),
    "reacher-easy": (4, 125_000, 50_000, 128, 1e-3, 10_000),
    "cheetah-run": (4, 125_000, 80_000, 512, 2e-4, 10_000),
    "walker-walk": (2, 250_000, 60_000, 128, 1e-3, 10_000),
}


@pytest.mark.parametrize(("task", "expected"), CONTROL.items())
@pytest.mark.parametrize("agent", ["curl", "sac"])
def test_the_papers_settings_for_control(task: str, expected: tuple[float, ...], agent: str) -> None:
    """SPEC, section 3."""
    config = preset(f"dm_control/{task}-v0", agent)
    learning, image, sac = config.learning, config.image, config.sac
    found = (image.action_repeat, config.steps, config.freeze_step, learning.batch_size, learning.learning_rate)
    assert (*found, config.eval_every) == expected
    assert (image.size, image.crop_size, image.stack, config.freeze.num_crops) == (100, 84, 3, 4)
    assert (learning.hidden_units, learning.first_update, learning.updates_per_step) == (1024, 1000, 1)
    assert (learning.discount, learning.encoder, learning.target_every) == (0.99, "sac-ae", 2)
    assert (sac.latent_size, sac.random_steps, sac.actor_every) == (50, 1000, 2)
    assert (sac.initial_temperature, sac.temperature_learning_rate) == (0.1, 1e-4)
    assert (sac.critic_tau, sac.encoder_tau, config.eval_episodes) == (0.01, 0.05, 10)
    assert (config.replay.memory, config.replay.capacity) == (None, None)  # as large as the run


def test_the_optimisers_betas_are_the_papers() -> None:
    """(0.9, 0.999) of the networks, (0.5, 0.999) of the temperature."""
    actions = gymnasium.spaces.Box(-1, 1, (1,))
    environment: Any = SimpleNamespace(packing=None, frame_shape=(3, 100, 100), stack=3, action_space=actions)
    agent = build_agent(preset("dm_control/cartpole-swingup-v0"), environment, torch.device("cpu"), [0, 1, 2, 3])
    found = {name: each.param_groups[0]["betas"] for name, each in agent.optimizers.items()}
    assert found.pop("temperature") == (0.5, 0.999)
    assert set(found.values()) == {(0.9, 0.999)}


def test_flags_override_the_preset() -> None:
    flags = {
        "--agent": "rainbow", "--steps": "9000", "--seed": "7", "--freeze-at": "never", "--replay-memory": "70MB",
        "--num-crops": "1", "--eval-every": "10", "--eval-episodes": "2", "--checkpoint-every": "30",
        "--encoder": "canonical", "--device": "cpu", "--out": "somewhere",
    }  # fmt: skip
    words = [word for pair in flags.items() for word in pair]
    config = config_of(["--env", "ALE/Qbert-v5", *words, "--no-prioritized", "--no-double"])
    assert (config.steps, config.seed, config.freeze_step, config.replay.memory) == (9000, 7, None, "70MB")
    assert (config.eval_every, config.eval_episodes, config.checkpoint_every) == (10, 2, 30)
    assert (config.learning.encoder, config.device, config.out) == ("canonical", "cpu", "somewhere")
    assert (config.replay.prioritized, config.value.double, config.value.dueling) == (False, False, True)
    assert config_of(["--env=ALE/Qbert-v5"]).freeze_step == 100_000
    assert config_of(["--env=ALE/Qbert-v5", "--freeze-at", "auto"]).freeze_step is None
    for other_run in (["--encoder-from", "runs/a"], ["--encoder-from=runs/a"]):
        assert config_of(["--env=ALE/Qbert-v5", *other_run]).freeze_step == 0
        assert config_of(["--env=ALE/Qbert-v5", *other_run, "--freeze-at", "7"]).freeze_step == 7
    assert config_of([*PONG, "--freeze-at", "1601"]).freeze_step == 1601
    assert config_of([*PONG, "--replay-capacity", "10000"]).replay.capacity == 10_000


@pytest.mark.parametrize("words", [("--agent", "dqn"), ("--agent=dqn",)])
def test_dqn_is_rainbow_with_its_parts_off(words: tuple[str, ...]) -> None:
    config = config_of([*PONG, *words])
    value, replay = config.value, config.replay
    assert config.agent == "dqn"
    assert (value.double, value.dueling, value.noisy, value.distributional) == (False,) * 4
    assert (replay.prioritized, replay.n_step) == (False, 1)
    assert config_of([*PONG, *words, "--double", "--n-step", "3"]).value.double


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("70MB", 70_000_000), ("1.5GB", 1_500_000_000), ("64MiB", 64 << 20), ("1 GiB", 1 << 30), ("9000", 9000),
        ("512 B", 512), ("2kB", 2000), ("2KB", 2000), ("0.07GB", 70_000_000), ("1e9", None), ("", None), ("MB", None),
    ],
)  # fmt: skip
def test_memory_sizes(text: str, count: int | None) -> None:
    if count is None:
        with pytest.raises(SettingError, match="--replay-memory"):
            parse_memory(text)
    else:
        assert parse_memory(text) == count


def test_a_config_survives_its_file() -> None:
    config = config_of([*PONG, "--agent", "dqn", "--replay-memory", "70MB", "--freeze-at", "never"])
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config


def test_a_setting_that_is_gone_may_stand_in_a_file_where_it_was_off() -> None:
    record = config_to_json(config_of(PONG))
    learning = record["learning"]
    assert config_from_json(record | {"learning": learning | {"reset_encoder": False}}) == config_of(PONG)
    with pytest.raises(SettingError, match=r"config\.json doesn't fit .*reset_encoder"):
        config_from_json(record | {"learning": learning | {"reset_encoder": True}})


def test_a_run_records_its_resolved_settings(finished_run: Path) -> None:
    config = config_from_json(json.loads((finished_run / "config.json").read_text()))
    assert config.learning.precision == "float32"  # settled, for wherever it goes on
    assert isinstance(config, Config)
    assert (config.env, config.steps, config.freeze_step, config.replay.capacity) == ("ALE/Pong-v5", 1000, 700, 300)
    assert config.learning.target_every == 50
    assert config.learning.adam_epsilon == 1.5e-4  # not given: the preset's
