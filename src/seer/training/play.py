"""`seer eval`: play whole games with the agent of a run's last checkpoint."""

from functools import partial
from pathlib import Path

from seer.errors import SettingError
from seer.runs.checkpoints import latest_checkpoint
from seer.runs.folder import RunFolder
from seer.runs.terminal import Terminal
from seer.runs.video import filming
from seer.training.build import PARALLEL_GAMES, build_evaluator
from seer.training.load_run import config_of, load_player


def evaluate_run(path: Path, *, episodes: int, seed: int, video: Path | None) -> None:
    """Play whole games with the agent of the last checkpoint; record the first one if asked to."""
    if episodes < 1:
        raise SettingError(f"--episodes {episodes} must be 1 or more")
    if seed < 0:
        raise SettingError(f"--seed {seed} must be 0 or more")
    folder = RunFolder.open(path)
    config = config_of(folder)
    checkpoint = latest_checkpoint(folder.checkpoints)
    agent, environment = load_player(folder, checkpoint=checkpoint)
    evaluator = build_evaluator(config, games=min(episodes, PARALLEL_GAMES), seed=seed)
    terminal = Terminal()
    with filming(video, frames_per_second=environment.metadata["render_fps"]) as append:
        on_frame = None if append is None else lambda environment: append(environment.render())
        evaluation = evaluator(
            agent, episodes=episodes, step=0, progress=partial(terminal.advance, "playing"), on_frame=on_frame
        )
    assert evaluation is not None  # nothing asks it to stop
    terminal.table(
        f"{config.env}, {config.agent}, {checkpoint.name}",
        {
            "score": f"{evaluation.mean:,.1f} ± {evaluation.std:,.1f}",
            "scores": ", ".join(f"{score:,.0f}" for score in evaluation.returns),
            "steps": ", ".join(f"{length:,}" for length in evaluation.lengths),
        },
    )
    if video is not None:
        terminal.say(f"wrote {video}")
