"""New runs that begin with another run's whole agent: what they take over, what stays their own, what is refused."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from refusing import Capture, refused
from seer.agents.agent import Agent
from seer.config import Config, config_to_json
from seer.errors import SettingError
from seer.presets import change, preset
from seer.replay import Batch
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint
from seer.runs.folder import RunFolder, read_metrics
from seer.settings import flags_of
from seer.training.build_agent import build_agent
from seer.training.transfer import adopt_agent, adopt_encoder
from tiny_run import SHORT_STEPS, config_of, seer


def state_of(run: Path) -> dict[str, Any]:
    return load_checkpoint(latest_checkpoint(run / "checkpoints"))["agent"]


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> set[str]:
    """The names of equal tensors."""
    return {name for name in ours if torch.equal(ours[name], theirs[name])}


def test_a_run_begins_with_the_whole_agent_of_another(short_run: Path, tmp_path: Path, capsys: Capture) -> None:
    """In another game of as many actions, with the other run's settings; too short to learn anything."""
    run = tmp_path / "run"
    flags = ("--env", "ALE/Qbert-v5", "--seed", 7, "--steps", 45)
    assert seer("train", "--from", short_run, *flags, "--out", run) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"starting with the agent of {short_run}, trained for {SHORT_STEPS} steps; its encoder is frozen" in said
    assert "it was trained in ALE/Pong-v5: an action keeps its number, whatever that means in ALE/Qbert-v5" in said
    config = json.loads((run / "config.json").read_text())
    assert [config[name] for name in ("env", "seed", "steps")] == ["ALE/Qbert-v5", 7, 45]
    assert (config["learning"]["hidden_units"], config["replay"]["n_step"]) == (
        16,
        5,
    )  # theirs
    assert (config["freeze"]["agent_from"], config["freeze"]["at"]) == (str(short_run), "0")
    ours, theirs = state_of(run), state_of(short_run)
    assert same(ours["modules"]["online"], theirs["modules"]["online"]) == theirs["modules"]["online"].keys()
    assert (ours["decisions"], ours["updates"]) == (theirs["decisions"] + 45, 0)
    (freeze,) = [record for record in read_metrics(run) if record["kind"] == "freeze"]
    assert (freeze["step"], freeze["rows"], freeze["reason"]) == (0, 0, f"encoder of {short_run}")


def test_it_learns_on_and_goes_on_without_the_other_run(short_run: Path, tmp_path: Path) -> None:
    source, run = tmp_path / "source", tmp_path / "run"
    shutil.copytree(short_run, source)
    flags = ("--freeze-at", "never", "--steps", 70, "--keep-optimizers")
    assert seer("train", "--from", source, *flags, "--out", run) == 0
    source.rename(tmp_path / "gone")
    assert seer("resume", run, "--steps", 80) == 0
    assert seer("card", run, "--out", tmp_path / "card") == 0
    assert "starts from the agent of another run" in (tmp_path / "card" / "README.md").read_text()
    assert seer("train", "--from", tmp_path / "card", "--out", tmp_path / "other") == 2
    ours, theirs = (state_of(each)["modules"]["online"] for each in (run, short_run))
    assert not same(ours, theirs)
    steps = [state["step"] for state in state_of(run)["optimizers"]["head"]["state"].values()]
    assert set(map(int, steps)) == {SHORT_STEPS - 50 + 1 + 70 - 50 + 1}


# Every agent, without training --------------------------------------------------------------------------------------


def small(env: str, agent: str, **settings: Any) -> Config:
    sizes: dict[str, Any] = {"learning.batch_size": 4, "learning.hidden_units": 16, "freeze.at": "never"}
    if not env.startswith("ALE"):
        sizes |= {
            "image.size": 40,
            "image.crop_size": None if agent == "drqv2" else 36,
            "learning.precision": "float32",
        }
    return change(preset(env, agent), sizes | settings)


def make(config: Config, seed: int, *, actions: int = 4) -> Agent[Any]:
    discrete = config.env.startswith("ALE")
    space = gymnasium.spaces.Discrete(actions) if discrete else gymnasium.spaces.Box(-1, 1, (actions,), np.float32)
    frame = (1 if discrete else 3, config.image.size, config.image.size)
    environment: Any = SimpleNamespace(packing=None, frame_shape=frame, stack=config.image.stack, action_space=space)
    return build_agent(config, environment, torch.device("cpu"), [seed, 1, 2, 3])


def learn(agent: Agent[Any], config: Config) -> None:
    """One update on noise, so that every optimiser has moments."""
    size, channels = config.image.size, 1 if config.env.startswith("ALE") else 3
    count = config.learning.batch_size
    generator = torch.Generator().manual_seed(5)
    now, after = torch.randint(0, 256, (2, count, config.image.stack, channels, size, size), generator=generator)
    discrete = config.env.startswith("ALE")
    action = torch.zeros(count, dtype=torch.int64) if discrete else torch.zeros(count, 4)
    ones = torch.ones(count)
    index = np.arange(count)
    agent.update(Batch(now.byte(), action, ones, after.byte(), ones * 0.9, ones, index))
    agent.decisions += 17


def save(config: Config, agent: Agent[Any], folder: Path) -> Path:
    RunFolder.create(folder, config_to_json(config)).close()
    save_checkpoint(folder / "checkpoints", 1234, {"agent": agent.state_dict()})
    return folder


def started(config: Config, source: Path, **settings: Any) -> Config:
    return change(config, {"freeze.agent_from": str(source), **settings})


AGENTS = [
    ("ALE/Alien-v5", "rainbow"), ("ALE/Alien-v5", "dqn"), ("dm_control/walker-walk-v0", "sac"),
    ("dm_control/walker-walk-v0", "curl"), ("dm_control/walker-walk-v0", "drqv2"),
]  # fmt: skip


@pytest.mark.parametrize("keep", [False, True], ids=["new optimisers", "its optimisers"])
@pytest.mark.parametrize(("env", "name"), AGENTS, ids=[name for _, name in AGENTS])
def test_every_agent_is_taken_over_whole(env: str, name: str, keep: bool, tmp_path: Path) -> None:
    config = small(env, name)
    source = make(config, seed=1)
    learn(source, config)
    ours = started(config, save(config, source, tmp_path / "run"), **{"freeze.keep_optimizers": keep})
    ours = change(ours, {"learning.learning_rate": 0.125})
    agent = make(ours, seed=2)
    rates = {name: [group["lr"] for group in each.param_groups] for name, each in agent.optimizers.items()}
    assert adopt_agent(agent, ours) == (1234, env)
    for part, module in agent.modules().items():
        theirs = source.modules()[part].state_dict()
        assert same(module.state_dict(), theirs) == theirs.keys(), part
    assert (agent.decisions, agent.updates) == (17, 0)
    for part, optimizer in agent.optimizers.items():
        assert [group["lr"] for group in optimizer.param_groups] == rates[part]
        assert bool(optimizer.state) == keep
        mine, kept = optimizer.state_dict()["state"], source.optimizers[part].state_dict()["state"]
        for number in mine:
            assert torch.equal(mine[number]["exp_avg"], kept[number]["exp_avg"])
    learn(agent, ours)


def test_a_frozen_agent_can_learn_on_with_what_is_left_of_its_optimisers(tmp_path: Path) -> None:
    from seer.core.phase import Phase

    config = small("dm_control/walker-walk-v0", "drqv2")
    source = make(config, seed=1)
    learn(source, config)
    source.freeze(Phase.LATENTS)
    ours = started(config, save(config, source, tmp_path / "run"), **{"freeze.keep_optimizers": True})
    agent = make(ours, seed=2)
    adopt_agent(agent, ours)
    assert agent.phase is Phase.FRAMES
    assert {name for name, each in agent.optimizers.items() if each.state} == {"critic", "actor"}
    before = [weight.clone() for weight in agent.online.encoder.base_parameters()]
    learn(agent, ours)
    assert not any(map(torch.equal, before, agent.online.encoder.base_parameters()))


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--env", "ALE/Breakout-v5"), ["heads don't fit the actions of ALE/Breakout-v5", "--encoder-from"]),
        (("--env", "dm_control/walker-walk-v0"), ["played ALE/Pong-v5", "is of another kind; give one of Atari"]),
        (("--agent", "dqn"), ["--agent dqn", "is rainbow", "--encoder-from"]),
        (("--hidden-units", 32), ["its agent doesn't fit (--hidden-units: 16 there, 32 here)"]),
        (("--max-return", 20), ["--max-return: 10.0 there, 20.0 here"]),
        (("--encoder-from", "x"), ["--encoder-from and --from"]),
        (("--latent-dtype", "int8"), ["--latent-dtype int8", "--freeze-at 0"]),
        (("--freeze-at", "never", "--freeze-layers", 1, "--keep-optimizers"), ["--keep-optimizers", "--freeze-layers"]),
    ],
)
def test_what_does_not_fit_is_refused(
    flags: tuple[object, ...], named: list[str], short_run: Path, capsys: Capture
) -> None:
    line = refused(capsys, "train", "--from", short_run, *flags, "--out", "run")
    assert all(part in line for part in named), line


@pytest.mark.usefixtures("empty_folder")
def test_what_is_no_run_is_refused(capsys: Capture) -> None:
    Path("step-000000100.safetensors").write_bytes(b"")
    assert "--from nowhere: nowhere is no run" in refused(capsys, "train", "--from", "nowhere")
    assert "--from step-000000100.safetensors" in refused(capsys, "train", "--from", "step-000000100.safetensors")
    line = refused(capsys, "train", "--env", "ALE/Pong-v5", "--keep-optimizers")
    assert "--keep-optimizers goes on with another run's; say which by --from" in line


def test_its_flags_say_all_that_it_changes(short_run: Path) -> None:
    flags = ["--from", str(short_run), "--env", "ALE/Qbert-v5", "--steps", "70", "--freeze-at", "60", "--no-double"]
    config = config_of(flags)
    assert config_of(flags_of(config)) == config
    assert dataclasses.asdict(config)["value"]["double"] is False
    assert "--hidden-units" not in flags_of(config)
    gone = change(config, {"freeze.agent_from": "gone"})
    assert flags_of(gone)[flags_of(gone).index("--hidden-units") :][:2] == ["--hidden-units", "16"]
    assert config_of([each if each != "gone" else str(short_run) for each in flags_of(gone)]) == config


def test_a_dry_run_says_what_a_run_starts_with(short_run: Path, capsys: Capture, tmp_path: Path) -> None:
    assert seer("train", "--from", short_run, "--steps", 60, "--dry-run", "--out", tmp_path / "run") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"starting with the agent of {short_run}" in said
    assert "Rainbow + SEER, from another run" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("adopt", [adopt_agent, adopt_encoder])
def test_cameras_and_vectors_in_another_order_are_refused(adopt: Any, tmp_path: Path) -> None:
    """Weights know them by their places: of the same sizes, one would silently be taken for the other."""
    config = small("dm_control/walker-walk-v0", "sac", **{"image.vectors": ("height", "velocity")})
    agent = make(config, seed=1)
    setting = "freeze.agent_from" if adopt is adopt_agent else "freeze.encoder_from"
    source = str(save(config, agent, tmp_path / "run"))
    turned = change(config, {setting: source, "image.vectors": ("velocity", "height")})
    with pytest.raises(SettingError, match="--vectors: height velocity there, velocity height here"):
        adopt(agent, turned)
