"""The agent as ONNX files: what they give on real observations, beside the agent and beside its formulas by hand."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from drawing import needs_drawing
from exported_run import load_run, make_agent, outputs
from seer.agents.rainbow import Rainbow
from seer.errors import SettingError
from seer.export.bundle import make_bundle
from seer.export.check import check, compare
from seer.export.onnx import export

ROOT = Path(__file__).parents[2]
NAMES = {"encoder.onnx", "policy.onnx", "agent.onnx", "export.json", "int8.json"}


class Branching(nn.Module):
    """Looks at the pixels to decide what to compute, which no graph can."""

    def __init__(self) -> None:
        super().__init__()
        self.bright, self.dark = nn.Conv2d(4, 2, 8, 8), nn.Conv2d(4, 2, 8, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.bright(images) if images.mean() > 0.5 else self.dark(images)


def make_module() -> nn.Sequential:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(4, 8, 8, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
    module[1].running_mean = torch.linspace(-1, 1, 8)  # type: ignore[assignment]
    return module


def test_the_files_compute_the_formulas_on_real_observations(
    finished_run: Path, exported: Path, observations: np.ndarray
) -> None:
    """Data-efficient encoder, dueling C51 on the means of the noisy layers, from the checkpoint's numbers by hand."""
    state = load_run(finished_run)[2]["modules"]["online"]
    assert all(
        state[f"head.{stream}.{layer}.weight_sigma"].abs().max() > 0
        for stream in ("advantage", "value")
        for layer in (0, 2)
    )
    pixels = torch.from_numpy(observations[:, :, 0] / 255.0).float()
    maps = F.relu(F.conv2d(pixels, state["encoder.stages.0.weight"], state["encoder.stages.0.bias"], stride=5))
    maps = F.relu(F.conv2d(maps, state["encoder.stages.1.weight"], state["encoder.stages.1.bias"], stride=5))
    latents = maps.flatten(1)

    def stream(name: str) -> torch.Tensor:
        hidden = F.relu(F.linear(latents, state[f"head.{name}.0.weight"], state[f"head.{name}.0.bias"]))
        return F.linear(hidden, state[f"head.{name}.2.weight"], state[f"head.{name}.2.bias"])

    advantage, value = stream("advantage").view(-1, 6, 51), stream("value").view(-1, 1, 51)
    q_values = (value + advantage - advantage.mean(1, keepdim=True)).softmax(-1) @ torch.linspace(-10, 10, 51)
    (found,) = outputs(exported / "encoder.onnx", "frames", observations)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], latents, atol=1e-5)
    for file, name, inputs in (("policy.onnx", "latents", found), ("agent.onnx", "frames", observations)):
        action, values = outputs(exported / file, name, inputs)
        np.testing.assert_allclose(values, q_values, atol=1e-5)
        assert action.dtype == np.int64
        assert action.tolist() == q_values.argmax(1).tolist()


def test_the_description_says_what_the_files_say(finished_run: Path, exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == NAMES
    about = json.loads((exported / "export.json").read_text())
    assert (about["run"], about["step"], about["env"], about["agent"]) == ("run", 1000, "ALE/Pong-v5", "rainbow")
    assert (about["encoder_frozen"], about["computes_in"]) == (True, "float32")
    assert about["environment_actions"] == {"first": 0}
    assert "last two console pictures" in about["frame_preparation"]
    assert about["frame_bytes"] == {"newest": 7056, "stack": 28224}
    sent = {wire["dtype"]: wire["num_bytes"] for wire in about["latents_sent_as"]}
    assert sent == {"float32": 2304, "float16": 1152, "int8": 576}
    kinds = {"uint8": "tensor(uint8)", "float32": "tensor(float)", "int64": "tensor(int64)"}
    for name, file in about["files"].items():
        session = onnxruntime.InferenceSession(exported / name, providers=["CPUExecutionProvider"])
        for said, values in ((file["inputs"], session.get_inputs()), (file["outputs"], session.get_outputs())):
            shapes = {value.name: (value.shape, value.type) for value in values}
            assert shapes == {key: (each["shape"], kinds[each["dtype"]]) for key, each in said.items()}
            assert all(shape[0] == "batch" for shape, _ in shapes.values())
        assert str(ROOT).encode() not in (exported / name).read_bytes()
    assert (about["checked"]["observations"], about["checked"]["equal_actions"]) == (64, 64)
    assert 0 < about["checked"]["differences"]["q_values"] < 1e-4


KINDS = {
    "impala, pooled": ["--env", "ALE/Qbert-v5", "--encoder", "impala", "--latent-pool", "4"],
    "dqn on a module, pooled": [
        *("--env", "ALE/Pong-v5", "--agent", "dqn", "--encoder-factory", "test_onnx:make_module", "--latent-pool", "4"),
    ],
    "curl, cut below the projections": [
        *("--env", "dm_control/reacher-easy-v0", "--image-size", "50", "--crop-size", "43", "--freeze-layers", "4"),
    ],
    "curl": ["--env", "dm_control/cartpole-swingup-v0", "--image-size", "50", "--crop-size", "43"],
    "sac, cut below the projections": [
        *("--env", "dm_control/reacher-easy-v0", "--agent", "sac", "--image-size", "42", "--crop-size", "42"),
        *("--num-crops", "1", "--freeze-layers", "4"),
    ],
}
QUICK = "curl, cut below the projections"
"""It has actor, crops and a cut; Rainbow's encoder and head are in `exported`. An export takes seconds."""


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind != QUICK)) for kind in KINDS])
def test_every_kind_of_agent_decides_as_it_does_itself(kind: str, tmp_path: Path) -> None:
    if "dm_control" in KINDS[kind][1]:
        needs_drawing()
    agent, seen = make_agent(*KINDS[kind])
    export(agent, seen.shape[1:], tmp_path)
    action = agent.act(seen)
    assert len(np.unique(seen.reshape(len(seen), -1), axis=0)) == len(seen)
    (latents,) = outputs(tmp_path / "encoder.onnx", "frames", seen)
    with torch.no_grad():
        stored = agent.online.encoder.encode(agent.online.encoder.pixels(agent.view(torch.from_numpy(seen))))
    assert latents.shape == (len(seen), *agent.online.encoder.latent_shape)
    np.testing.assert_allclose(latents, stored, atol=1e-5)
    assert np.ptp(latents, axis=0).max() > 1e-3
    for file, name, inputs in (("policy.onnx", "latents", latents), ("agent.onnx", "frames", seen)):
        found, *q_values = outputs(tmp_path / file, name, inputs)
        if isinstance(agent, Rainbow):
            assert found.tolist() == action.tolist()
            with torch.no_grad():
                best = agent.judge(stored, agent.online)[1]
            np.testing.assert_allclose(q_values[0].max(1), best, atol=1e-5)
        else:
            np.testing.assert_allclose(found, action, atol=1e-5)
            assert np.ptp(found) > 1e-4
            assert not q_values
    cut = agent.online.encoder.frozen_stages
    for file, belongs in (("encoder.onnx", lambda stage: stage < cut), ("policy.onnx", lambda stage: stage >= cut)):
        names = [weight.name.split(".") for weight in onnx.load(tmp_path / file).graph.initializer]
        stages = [int(name[2]) for name in names if name[:2] == ["encoder", "stages"]]
        assert all(belongs(stage) for stage in stages)
        assert bool(stages) == (file == "encoder.onnx" or cut < len(agent.online.encoder.stages))


def test_files_that_differ_from_the_agent_are_found(
    finished_run: Path, exported: Path, observations: np.ndarray, tmp_path: Path
) -> None:
    agent, _, _ = load_run(finished_run)
    agreement, _ = check(exported, agent, observations)
    assert (agreement.observations, agreement.equal_actions) == (12, 12)
    for weight, words in (
        (agent.online.encoder.stages[1].bias, "encoder.onnx with policy.onnx differs from the agent, latents by"),
        (agent.online.head.advantage[2].bias, "encoder.onnx with policy.onnx differs from the agent, q_values by"),
    ):
        assert isinstance(weight, torch.Tensor)
        for wrong in (0.5, float("nan")):
            kept = weight.data.clone()
            weight.data[0] += wrong
            with pytest.raises(SettingError, match=words):
                check(exported, agent, observations)
            weight.data.copy_(kept)
    check(exported, agent, observations)
    for name in ("encoder.onnx", "policy.onnx"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    (tmp_path / "agent.onnx").write_bytes((exported / "policy.onnx").read_bytes())
    with pytest.raises(SettingError, match=r"ONNX Runtime can't run agent.onnx"):
        check(tmp_path, agent, observations)


def test_a_choice_may_differ_only_where_values_are_the_same() -> None:
    expected = {"action": np.array([0, 1]), "best_q_value": np.array([3.0, 2.0])}
    tied = np.array([[3.0, 3.0 - 1e-6], [1.0, 2.0]])
    agreement = compare(expected, {"action": np.array([1, 1]), "q_values": tied}, "x")
    assert agreement.equal_actions == 1
    assert agreement.differences["q_values"] == pytest.approx(1e-6)
    for action, q_values in (
        ([1, 0], tied),  # the file's choice isn't the file's best
        ([1, 1], tied[:, ::-1]),  # the agent's choice isn't the file's best
        ([0, 1], tied + 0.01),
    ):
        with pytest.raises(SettingError, match=r"x differs from the agent, q_values by .* is allowed"):
            compare(expected, {"action": np.array(action), "q_values": q_values}, "x")


def test_a_module_that_cant_be_exported_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    agent, seen = make_agent("--env", "ALE/Pong-v5", "--encoder-factory", "test_onnx:Branching")
    with pytest.raises(SettingError, match=r"encoder.onnx can't be made") as caught:
        make_bundle(agent, seen, tmp_path / "onnx", {})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_largest_protobuf_is_not_exceeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, seen = make_agent("--env", "ALE/Pong-v5")
    monkeypatch.setitem(export.__globals__, "MOST_BYTES", 100)
    with pytest.raises(SettingError, match=r"encoder.onnx would have more than 100 bytes"):
        export(agent, seen.shape[1:], tmp_path)


def test_a_run_of_a_gpu_loads_on_a_cpu() -> None:
    """Its generators' states, 16 bytes, don't fit a CPU's; everything else does."""
    agent, seen = make_agent("--env", "ALE/Pong-v5")
    state = agent.state_dict()
    state["generators"]["noise"] = torch.zeros(16, dtype=torch.uint8)
    other, _ = make_agent("--env", "ALE/Pong-v5")
    other.online.head.advantage[2].bias.data[-51:] += torch.linspace(-9, 9, 51)  # the last action is the best
    assert other.act(seen).tolist() != agent.act(seen).tolist()
    other.load_state_dict(state)
    assert other.act(seen).tolist() == agent.act(seen).tolist()
