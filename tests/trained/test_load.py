"""`seer.load`: a run's agent acts and encodes in Python as `seer eval` and the run itself do."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import seer
from kept_run import FLAGS, PONG, STEP, keep_run
from seer.core.phase import Phase
from seer.runs.folder import RunFolder
from seer.runs.snapshots import save_snapshot
from seer.training.build import build_evaluator
from seer.training.build_environment import build_environment
from seer.training.evaluation import Evaluator
from seer.training.load_run import load_player

AGENTS = sorted(FLAGS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {agent: tmp_path_factory.mktemp("runs") / agent for agent in AGENTS}
    for agent, folder in folders.items():
        keep_run(folder, agent)
    return folders


def pictures(agent: seer.TrainedAgent, count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(256, size=(count, *agent.observation_shape), dtype=np.uint8)


@pytest.mark.parametrize("name", AGENTS)
def test_it_takes_the_actions_that_an_evaluation_takes(name: str, runs: dict[str, Path]) -> None:
    """The evaluation's own observations, and what reached the environment of Gymnasium below it."""
    agent = seer.load(runs[name])
    player, _ = load_player(RunFolder.open(runs[name]))
    evaluator, seen, act = build_evaluator(agent.config, games=3, seed=4), [], player.act
    player.act = lambda observations: seen.append(observations) or act(observations)  # type: ignore[method-assign]
    assert evaluator(player, episodes=3, step=0) is not None
    played = [each._env.unwrapped.played for each in evaluator.environments]  # type: ignore[attr-defined]
    assert len(seen) == 7
    for step, observations in enumerate(seen):
        actions = agent.act(observations)
        assert np.array_equal(actions, np.stack([each[step] for each in played]))
        assert all(action in agent.action_space for action in actions)
        one = agent.act(observations[1])
        assert one in agent.action_space
        np.testing.assert_allclose(one, actions[1], atol=1e-5)
    assert isinstance(one, int) == (name in ("rainbow", "dqn"))


def test_a_loop_plays_the_game_that_an_evaluation_plays(tmp_path: Path) -> None:
    keep_run(tmp_path / "run", "rainbow", *PONG)
    agent = seer.load(tmp_path / "run")
    player, environment = load_player(RunFolder.open(tmp_path / "run"))
    evaluation = Evaluator([environment], epsilon=0.0, seed=5)(player, episodes=1, step=0)
    env = agent.make_env(seed=int(np.random.default_rng([5, 0]).integers(2**31)))
    observation, _ = env.reset()
    score, length, over = 0.0, 0, False
    while not over:
        observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
        score, length, over = score + float(reward), length + 1, terminated or truncated
    assert evaluation is not None
    assert ((score,), (length,)) == (evaluation.returns, evaluation.lengths)
    assert (length, agent.step, agent.phase, agent.config.agent) == (60, STEP, Phase.LATENTS, "rainbow")
    assert (agent.observation_shape, agent.action_space) == ((4, 1, 44, 44), gymnasium.spaces.Discrete(6))


@pytest.mark.parametrize("name", ["rainbow", "curl", "drqv2"])
def test_latents_are_those_of_what_acting_sees(name: str, tmp_path: Path) -> None:
    made = keep_run(tmp_path / "run", name)
    agent, encoder = seer.load(tmp_path / "run"), made.online.encoder
    observations = pictures(agent, 3)
    cut = observations[..., 4:-4, 4:-4] if name == "curl" else observations
    pixels = torch.from_numpy(cut.reshape(3, -1, *cut.shape[-2:])).float() / 255 - 0.5 * (name == "drqv2")
    with torch.no_grad():
        expected = encoder.encode(pixels).numpy()
    latents = agent.encode(observations)
    np.testing.assert_allclose(latents, expected, atol=1e-5)
    assert (latents.dtype, latents.shape[1:]) == (np.float32, agent.latent_shape)
    np.testing.assert_allclose(agent.encode(torch.from_numpy(observations[1])), latents[1], atol=1e-5)


@pytest.mark.parametrize("name", AGENTS)
def test_it_explores_as_the_run_did_at_that_step(name: str, runs: dict[str, Path]) -> None:
    """Past the first random steps, in the same sequence from the same seed."""
    agent, (player, _) = seer.load(runs[name]), load_player(RunFolder.open(runs[name]))
    observations = pictures(agent, 40)
    drawn = [agent.act(observations, deterministic=False) for _ in range(2)]
    assert not np.array_equal(*drawn)
    agent.seed(0)
    agent._agent.decisions = player.decisions = STEP
    for mine, theirs in zip(agent._agent.generators().values(), player.generators().values(), strict=True):
        if isinstance(theirs, torch.Generator):
            theirs.set_state(mine.get_state())  # type: ignore[union-attr]
        else:
            theirs.bit_generator.state = mine.bit_generator.state  # type: ignore[union-attr]
    player.freeze(Phase.FROZEN_FRAMES)  # its stored crops would draw from the generators too
    first = [agent._translation(player.explore(each)[0]) for each in observations]
    assert np.array_equal(drawn[0], first)
    again = seer.load(runs[name])
    assert np.array_equal(again.act(observations, deterministic=False), drawn[0])


def test_a_module_of_one_s_own_acts_as_one_that_is_frozen(tmp_path: Path) -> None:
    """Dropout and batch statistics are off: what an observation means depends on nothing beside it."""
    keep_run(tmp_path / "run", "dqn", "--encoder-factory", "kept_run:make_module", "--freeze-at", "0")
    agent = seer.load(tmp_path / "run")
    observations = pictures(agent, 4)
    latents = agent.encode(observations)
    np.testing.assert_allclose(latents[2], agent.encode(observations[2]), atol=1e-5)
    assert (latents != 0).mean() > 0.9


def state_of_process() -> tuple[object, ...]:
    drawn = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), random.getstate(), drawn[1].tolist(), drawn[2:], torch.get_num_threads()


def test_nothing_of_the_process_changes(tmp_path: Path) -> None:
    keep_run(tmp_path / "run", "rainbow", "--env", "third_party:Draws-v0")
    torch.manual_seed(11)
    random.seed(12)
    np.random.seed(13)  # noqa: NPY002
    before = state_of_process()
    agent = seer.load(tmp_path / "run")
    assert state_of_process() == before
    env, same = agent.make_env(seed=3), agent.make_env(seed=3)
    observation, _ = env.reset()
    env.step(agent.act(observation, deterministic=False))
    assert env.unwrapped._env.unwrapped.drawn == same.unwrapped._env.unwrapped.drawn  # type: ignore[attr-defined]
    assert state_of_process() == before


@pytest.mark.parametrize("name", ["dqn", "sac"])
def test_an_environment_takes_what_the_agent_gives(name: str, runs: dict[str, Path]) -> None:
    agent = seer.load(runs[name])
    env, same = agent.make_env(seed=3), agent.make_env()
    observation, _ = env.reset()
    assert env.action_space == agent.action_space
    assert np.array_equal(observation, same.reset(seed=3)[0])
    assert not np.array_equal(observation, env.reset()[0])
    action = agent.act(observation)
    env.step(action)
    (played,) = env.unwrapped._env.unwrapped.played[-1:]  # type: ignore[attr-defined]
    assert np.array_equal(played, action)
    usual = build_environment(agent.config, training=False)
    usual.reset(seed=3)
    usual.step(agent._agent.act(observation[None])[0])
    assert np.array_equal(usual._env.unwrapped.played[-1], action)  # type: ignore[attr-defined]


def test_an_unfinished_run_and_its_snapshots_are_chosen_by_step(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    early = keep_run(folder, "drqv2", phase=Phase.FRAMES)
    shutil.rmtree(folder)
    late = keep_run(folder, "drqv2", "--snapshot-every", "40")
    with torch.no_grad():
        for parameter in early.modules()["actor"].parameters():
            parameter.add_(1)
    for step, agent in ((40, early), (100, late)):
        save_snapshot(folder, step, agent)
    loaded = {step: seer.load(folder, step=step) for step in (40, 100, STEP)}
    observations = pictures(loaded[40], 5)
    for step, agent in ((40, early), (100, late), (STEP, late)):
        expected = [loaded[step]._translation(each) for each in agent.act(observations)]
        assert np.array_equal(loaded[step].act(observations), expected)
    assert {step: agent.phase for step, agent in loaded.items()} == {
        40: Phase.FRAMES, 100: Phase.LATENTS, STEP: Phase.LATENTS,
    }  # fmt: skip
    assert loaded[40]._agent.noise > loaded[100]._agent.noise  # type: ignore[attr-defined]
    assert seer.load(folder).step == STEP
    with pytest.raises(seer.SettingError, match="keeps no weights of it; give one of 40, 100, 120, or none"):
        seer.load(folder, step=41)


def test_a_snapshot_of_a_run_that_began_with_another_explores_as_little_as_it_did(tmp_path: Path) -> None:
    other, folder = tmp_path / "other", tmp_path / "run"
    keep_run(other, "drqv2")
    agent = keep_run(folder, "drqv2", "--snapshot-every", "40", "--from", str(other), decisions=STEP + 1000)
    save_snapshot(folder, 40, agent)
    assert seer.load(folder, step=40)._agent.decisions == 1040


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda seen: seen.astype(np.float32), "float32 [4, 1, 44, 44]: this agent takes uint8 [4, 1, 44, 44], or"),
        (lambda seen: seen[0], "uint8 [1, 44, 44]: this agent takes uint8 [4, 1, 44, 44]"),
        (lambda seen: seen[:, :, 1:], "[4, 1, 43, 44]"),
        (lambda seen: seen[None][:0], "[0, 4, 1, 44, 44]"),
        (lambda seen: seen[None, None], "[1, 1, 4, 1, 44, 44]"),
    ],
)
def test_an_observation_that_does_not_fit_is_one_line(change: Any, words: str, runs: dict[str, Path]) -> None:
    agent = seer.load(runs["rainbow"])
    for use in (agent.act, agent.encode):
        with pytest.raises(seer.SettingError) as caught:
            use(change(pictures(agent, 1)[0]))
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_folder_without_an_agent_that_fits_is_one_line(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["dqn"], run)
    config = json.loads((run / "config.json").read_text())

    def refusal(path: Path, **options: Any) -> str:
        with pytest.raises(seer.SettingError) as caught:
            seer.load(path, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "is no run" in refusal(tmp_path / "none")
    assert "--device tpu is not available here" in refusal(run, device="tpu")
    config["learning"]["hidden_units"] = 8
    (run / "config.json").write_text(json.dumps(config))
    assert "is of other settings" in refusal(run)
    shutil.rmtree(run / "checkpoints")
    assert "holds no checkpoint" in refusal(run)
