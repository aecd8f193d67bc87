"""Modules of one's own by name, as the encoder of a run."""

import dataclasses
import json
import math
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import seer
from drawing import needs_drawing
from seer.networks.own_module import own_module, own_stages
from seer.presets import preset
from seer.runs.checkpoints import latest_checkpoint, load_checkpoint
from seer.runs.folder import flatten, read_metrics
from seer.sweeps.speed import kind_of_speed
from seer.training.build import build
from seer.training.build_agent import build_agent
from seer.training.encoder_lines import encoder_lines
from seer.training.transfer import adopt_weights
from tiny_run import config_of, stop_in_step
from tiny_run import seer as seer_command


def make_module(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.BatchNorm2d(4), nn.Tanh(), nn.AdaptiveAvgPool2d(1))


def make_atari_module(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(4, 8, 8, 8), nn.BatchNorm2d(8), nn.ReLU())


def make_control_maps() -> nn.Conv2d:
    return nn.Conv2d(9, 4, 8, 8)


def make_control_bare() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(9, 4, 8, 8, bias=False), nn.Flatten(), nn.Linear(400, 20, bias=False))


def make_control_module() -> nn.Sequential:
    return nn.Sequential(make_control_maps(), nn.AdaptiveAvgPool2d(5), nn.Flatten())


def make_thumbnails() -> nn.AvgPool2d:
    return nn.AvgPool2d(12)


def not_a_module() -> int:
    return 3


def fails() -> nn.Module:
    raise KeyError("a file that isn't there")


def test_a_module_by_name_with_its_weights(tmp_path: Path) -> None:
    expected, file = make_module(7), tmp_path / "weights.safetensors"
    save_file(expected.state_dict(), file)
    loaded = seer.load_module("test_own_module:make_module", file)
    assert all(torch.equal(part, loaded.state_dict()[name]) for name, part in expected.state_dict().items())
    assert not torch.equal(seer.load_module("test_own_module:make_module").state_dict()["0.weight"], expected[0].weight)


@pytest.mark.parametrize("factory", ["", "nowhere:make", "test_own_module", "test_own_module:make", "..x:y"])
def test_a_factory_that_is_none_is_refused(factory: str) -> None:
    with pytest.raises(seer.SettingError, match=r"package.module:callable"):
        seer.load_module(factory)


@pytest.mark.parametrize("factory", ["math:pi", "torch.nn:Linear", "test_own_module:fails"])
def test_a_factory_that_fails_is_one_line(factory: str) -> None:
    with pytest.raises(seer.SettingError, match=f"{factory!r} failed"):
        seer.load_module(factory)


def test_a_module_that_checks_its_images_is_one_line() -> None:
    class Strict(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            assert images.shape[-1] == 224, "224 only"
            return images

    with pytest.raises(seer.SettingError, match="AssertionError: 224 only"):
        own_stages(Strict(), (1, 84, 84), stack=4)


def test_other_products_and_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(seer.SettingError, match="makes a int"):
        seer.load_module("test_own_module:not_a_module")
    other, broken = tmp_path / "other.safetensors", tmp_path / "broken.safetensors"
    save_file({"x": torch.zeros(3)}, other)
    broken.write_bytes(b"no tensors")
    for file in (other, broken, tmp_path / "missing.safetensors"):
        with pytest.raises(seer.SettingError, match=f"{file.name} doesn't fit"):
            seer.load_module("test_own_module:make_module", file)


@pytest.mark.parametrize("agent", ["curl", "sac"])
def test_a_module_of_ones_own_keeps_its_weights_in_control(agent: str) -> None:
    """Without --encoder-weights too: the factory may have loaded them. Only seer's own layers are made anew."""
    config = preset("dm_control/cartpole-swingup-v0", agent, transfer=True)
    freeze = dataclasses.replace(config.freeze, encoder_factory="test_own_module:make_control_bare")
    actions = gymnasium.spaces.Box(-1, 1, (1,))
    environment: Any = SimpleNamespace(packing=None, frame_shape=(3, 100, 100), stack=3, action_space=actions)
    made = build_agent(dataclasses.replace(config, freeze=freeze), environment, torch.device("cpu"), [0, 1, 2, 3])
    stage, projections = made.online.encoder.stages
    for name, weight in make_control_bare().state_dict().items():
        assert torch.equal(stage.module.state_dict()[name], weight)
    assert not any(layer.bias.any() for layer in projections.modules() if isinstance(layer, nn.Linear))


FACTORY = ("--encoder-factory", "test_own_module:make_atari_module")
SHORT = (
    *("--env", "ALE/Pong-v5", "--steps", "160", "--replay-capacity", "100", "--first-update", "60", "--n-step", "3"),
    *("--batch-size", "8", "--hidden-units", "16", "--eval-every", "160", "--eval-episodes", "1", "--threads", "1"),
    *("--checkpoint-every", "100", "--max-episode-steps", "60", "--device", "cpu"),
)


def test_training_on_a_module_of_ones_own(tmp_path: Path) -> None:
    """Its weights come from the file, stay as they were, and its features alone are stored, from the first step on."""
    expected, file, folder = make_atari_module(7), tmp_path / "weights.safetensors", tmp_path / "run"
    save_file(expected.state_dict(), file)
    assert seer_command("train", *SHORT, *FACTORY, "--encoder-weights", file, "--out", folder) == 0
    agent = load_checkpoint(latest_checkpoint(folder / "checkpoints"))["agent"]
    for network in ("online", "target"):
        for name, weight in expected.state_dict().items():
            assert torch.equal(agent["modules"][network][f"encoder.stages.0.module.{name}"], weight)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["frozen_at"] == 0
    assert summary["replay"]["row_bytes_after"] == 8 * 10 * 10 * 4
    (freeze,) = [record for record in read_metrics(folder) if record["kind"] == "freeze"]
    assert (freeze["step"], freeze["reason"]) == (0, "encoder of test_own_module:make_atari_module")


def test_a_module_may_have_no_weights(tmp_path: Path) -> None:
    flags = ("--encoder-factory", "test_own_module:make_thumbnails")
    assert seer_command("train", *SHORT, *flags, "--out", tmp_path / "run") == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["replay"]["row_bytes_after"] == 4 * 7 * 7 * 4
    needs_drawing()
    small = ("--env", "dm_control/cartpole-swingup-v0", "--eval-episodes", "1", "--hidden-units", "16")
    curl = build(config_of([*small, *flags])).agent
    assert "encoder" not in curl.optimizers


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--encoder-factory", "nowhere:make"], "package.module:callable"),
        (["--encoder-factory", "test_own_module:make_module"], "doesn't take images [B, 4, 84, 84]"),
        ([*FACTORY, "--freeze-at", "50"], "--freeze-at 50 freezes an encoder that never learnt"),
        ([*FACTORY, "--encoder-from", "x"], "give one"),
        ([*FACTORY, "--freeze-layers", "4"], "--freeze-layers 4: the encoder has 3 layers"),
        ([*FACTORY, "--latent-dtype", "int8"], "--latent-dtype int8"),
        ([*FACTORY, "--latent-pool", "11"], "maps are 10 x 10; give at most 10"),
        (["--encoder-weights", "x", "--freeze-at", "never"], "--encoder-factory"),
        ([*FACTORY, "--encoder-weights", "missing.safetensors"], "missing.safetensors"),
    ],
)
def test_wrong_flags_are_one_line(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert seer_command("train", *SHORT, *flags) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1


def test_projections_above_a_module_go_on_learning(capsys: pytest.CaptureFixture[str]) -> None:
    """CURL: the row is the module's 100 features of each of 4 crops, not the projections' two latents."""
    needs_drawing()
    env = ("--env", "dm_control/cartpole-swingup-v0", "--replay-capacity", "1000")
    assert seer_command("memory", *env, "--encoder-factory", "test_own_module:make_control_module") == 0
    assert "1,600" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("env", "maps"), [("ALE/Pong-v5", "atari_module"), ("dm_control/cartpole-swingup-v0", "control_maps")]
)
def test_a_pooled_module_is_frozen_and_what_is_above_it_learns(env: str, maps: str) -> None:
    if env.startswith("dm_control"):
        needs_drawing()
    factory = ["--encoder-factory", f"test_own_module:make_{maps}", "--eval-episodes", "1", "--hidden-units", "16"]
    encoders = [
        build(config_of(["--env", env, *factory, *flags])).agent.online.encoder
        for flags in ([], ["--latent-pool", "3"])
    ]
    (wide, pooled) = (encoder.latent_shape for encoder in encoders)
    channels = encoders[0].stages[0].output_shape[0]
    assert wide == (1, math.prod(encoders[0].stages[0].output_shape))
    assert pooled == (1, channels * 9)
    assert [type(stage).__name__ for stage in encoders[1].above] == ["Projections"] * (maps == "control_maps")


def make_learning_module() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(4, 8, 8, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))


LEARNS_FIRST = (
    *SHORT,
    "--encoder-factory",
    "test_own_module:make_learning_module",
    "--freeze-at",
    "120",
    "--max-episode-steps",
    "40",
)


def trained(folder: Path) -> dict[str, Any]:
    """The agent of a run's last checkpoint."""
    return load_checkpoint(latest_checkpoint(folder / "checkpoints"))["agent"]


def test_training_on_a_module_that_learns_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is frozen on the way, and a run that is stopped in either phase goes on to the same figures."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert seer_command("train", *LEARNS_FIRST, "--out", whole) == 0
    said = capsys.readouterr().out
    assert "learns until step 120" in said
    assert "Batch norm: by the batch" in said
    assert "Dropout: only where" in said
    assert f"After the freeze {8 * 10 * 10 * 4:,} bytes" in said
    for step, verb in ((90, ["train", *LEARNS_FIRST, "--out"]), (140, ["resume"])):
        assert stop_in_step(step, *verb, stopped, signal=signal.SIGTERM) == 130
    torch.manual_seed(5)  # a process of its own would begin with another state
    assert seer_command("resume", stopped) == 0
    assert "has learnt and is frozen" in capsys.readouterr().out
    assert json.loads((stopped / "summary.json").read_text())["frozen_at"] == 120
    ours, theirs = (flatten(trained(folder)["modules"]["online"]) for folder in (whole, stopped))
    for (name, mine), (_, other) in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other), name
    assert seer.load(stopped).act(np.zeros((4, 1, 84, 84), np.uint8)) in range(6)


@pytest.mark.parametrize("layers", ["all", "1"])
def test_weights_of_a_file_are_where_it_starts(layers: str, tmp_path: Path) -> None:
    """By the names of the whole module, also where its layers are told apart."""
    torch.manual_seed(9)
    expected, file = make_learning_module(), tmp_path / "weights.safetensors"
    save_file(expected.state_dict(), file)
    flags = [*LEARNS_FIRST, "--freeze-layers", layers, "--encoder-weights", str(file)]
    agent = build(config_of(flags)).agent
    adopt_weights(agent, file)
    for network in (agent.online, agent.target):
        module = own_module(network.encoder.stages)
        assert module is not None
        for name, weight in expected.state_dict().items():
            assert torch.equal(module.state_dict()[name], weight)


def test_a_start_says_which_layers_learn_and_what_is_too_wide() -> None:
    config = config_of([*LEARNS_FIRST, "--freeze-layers", "2", "--image-size", "16"])
    run = build(config)
    said = "\n".join(encoder_lines(run))
    run.close()
    assert "all of layers 1 to 2 (Conv2d to BatchNorm2d), and all of layers 3 to 4 (ReLU to Dropout) learns" in said
    assert "warning" not in said  # 8 maps of 2 x 2, 128 bytes of 256
    config = config_of([*SHORT, "--encoder-factory", "test_own_module:make_wide", "--freeze-at", "120"])
    assert "warning: 225,792 bytes of latents" in "\n".join(encoder_lines(build(config)))


def make_wide() -> nn.Conv2d:
    return nn.Conv2d(4, 8, 1)


def test_a_speed_is_measured_with_the_same_cut() -> None:
    """From the start on, other layers are frozen than after it has learnt."""
    from_the_start, later = config_of([*SHORT, *FACTORY]), config_of(LEARNS_FIRST)
    assert [kind_of_speed(each).freeze.at for each in (from_the_start, later)] == ["0", "1"]


def test_a_list_of_modules_is_one() -> None:
    module = seer.load_module("test_own_module:make_list")
    assert isinstance(module, nn.Sequential)
    assert len(module) == 2


def make_list() -> list[nn.Module]:
    return [nn.Conv2d(4, 8, 8, 8), nn.ReLU()]
