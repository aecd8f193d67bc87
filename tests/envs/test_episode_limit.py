"""--max-episode-steps cuts episodes as a time limit does, wherever they are played; a dry run says what is missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from test_gymnasium import SHORT

import third_party
from painted import Episode, PaintedEnvironment
from seer.config import config_from_json, config_to_json
from seer.envs.atari import make_atari
from seer.envs.base import PixelEnvironment
from seer.envs.gymnasium import GymnasiumEnvironment
from seer.envs.vector import play
from seer.runs.folder import read_metrics
from seer.trainer import try_run
from seer.training.build_environment import build_environment
from tiny_run import config_of, seer

Capture = pytest.CaptureFixture[str]
NO_LIMIT = "has no time limit; where a game may never end, give --max-episode-steps"


class Endless(third_party.Shows):
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left = 99
        return super().step(action)


class Counts(Endless):
    """Has a limit of its own, as minigrid's have."""

    max_steps = 30


gymnasium.register("Endless-v0", Endless)
gymnasium.register("Counts-v0", Counts)
gymnasium.register("Limited-v0", Endless, max_episode_steps=5)
ENDLESS = "test_episode_limit:Endless-v0"


def played(environment: Any, steps: int) -> Iterator[tuple[bool, bool]]:
    for _ in range(steps):
        outcome = play(environment, 0)
        yield outcome.terminated, outcome.truncated
        assert (outcome.final is not None) == outcome.truncated


def test_episodes_are_truncated_at_the_limit_and_ends_stay_ends() -> None:
    environment = PaintedEnvironment(episodes=(Episode(3), Episode(9), Episode(4)))
    environment.max_episode_steps = 4
    environment.reset()
    ends = list(played(environment, 11))
    assert [step for step, end in enumerate(ends, 1) if end == (True, False)] == [3, 11], "one of them at the limit"
    assert [step for step, end in enumerate(ends, 1) if end == (False, True)] == [7]


def test_a_limit_counts_whole_games_and_survives_a_restore() -> None:
    """Of Atari too, where a life is an episode; what is played again ends where it did."""
    game = make_atari("ALE/Breakout-v5", training=True)
    game.max_episode_steps = 100
    info: dict[str, Any] = {}
    game.reset(seed=0)
    lives = steps = 0
    while "episode" not in info:
        steps += 1
        if steps == 60:
            game.load_state_dict(game.state_dict())
        outcome = play(game, 1 + steps % 3)
        lives += outcome.terminated
        info = outcome.info
    assert (steps, info["episode"]["length"], outcome.truncated) == (100, 100, True)
    assert lives > 0


def test_the_limit_is_a_setting_of_training_and_evaluation() -> None:
    config = config_of(["--env", ENDLESS, "--agent", "dqn", "--max-episode-steps", "6"])
    for training in (True, False):
        assert build_environment(config, training=training).max_episode_steps == 6
    record = config_to_json(config)
    assert record["max_episode_steps"] == 6
    del record["max_episode_steps"]  # an older seer's
    assert config_from_json(record).max_episode_steps is None


def test_without_the_setting_an_environment_keeps_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PixelEnvironment, "max_episode_steps", 7)
    for flags, limit in (((), 7), (("--max-episode-steps", "6"), 6)):
        config = config_of(["--env", ENDLESS, "--agent", "dqn", *flags])
        assert build_environment(config, training=True).max_episode_steps == limit


@pytest.mark.parametrize(("name", "limited"), [("Endless-v0", False), ("Limited-v0", True), ("Counts-v0", True)])
def test_a_limit_of_the_environment_s_own_is_known(name: str, limited: bool) -> None:
    environment = GymnasiumEnvironment(f"test_episode_limit:{name}")
    assert environment.has_time_limit == limited
    environment.max_episode_steps = 10
    assert environment.has_time_limit


def test_a_run_without_end_is_cut(tmp_path: Path, capsys: Capture) -> None:
    flags = ("train", "--env", ENDLESS, "--agent", "dqn", "--steps", 50, "--freeze-at", "never", "--eval-every", 50)
    flags = (*flags, "--first-update", 40, "--n-step", 3, "--image-size", 50, *SHORT)
    assert seer(*flags, "--max-episode-steps", 12, "--out", tmp_path / "run") == 0
    assert NO_LIMIT not in " ".join(capsys.readouterr().out.split())
    records = read_metrics(tmp_path / "run")
    episodes = [record for record in records if record["kind"] == "episode"]
    assert [record["episode_length"] for record in episodes] == [12] * 4
    (evaluation,) = (record for record in records if record["kind"] == "eval")
    assert evaluation["mean"] == 12 * 1.5


def test_a_dry_run_says_what_is_seen(capsys: Capture) -> None:
    """The lines of a training, before the table."""
    flags = ["--env", "third_party:Camera-v0", "--agent", "dqn", "--replay-capacity", "100", "--eval-episodes", "1"]
    try_run(config_of([*flags, "--threads", "1", "--device", "cpu"]))
    said = " ".join(capsys.readouterr().out.split())
    assert "'front', 20x20, as 84x84 grey, with 'speed' (2) beside the latents; acts in Discrete(3" in said
    assert "Computing on cpu" in said
    assert f"warning: third_party:Camera-v0 {NO_LIMIT}" in said


def test_more_actions_than_memory_are_one_line(capsys: Capture) -> None:
    gymnasium.register("Many-v0", third_party.Shows, kwargs={"actions": gymnasium.spaces.Discrete(2_000_000)})
    for agent in ("rainbow", "dqn"):
        code = seer("train", "--env", "Many-v0", "--agent", agent, "--hidden-units", 8192, "--dry-run")
        said = capsys.readouterr().err
        assert (code, said.count("\n")) == (2, 1)
        assert "Many-v0 has 2,000,000 actions: networks of one output for each take" in said
    del gymnasium.registry["Many-v0"]
