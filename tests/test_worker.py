"""One trial in a process of its own: started anew, or gone on with the settings that it is given now."""

import dataclasses
from pathlib import Path
from unittest.mock import patch

from seer import worker
from seer.sweeps.trial import state_of
from tiny_run import config_of, files


def test_a_trial_goes_on_with_what_it_is_given_now(tmp_path: Path) -> None:
    flags = ("--env", "ALE/Alien-v5", "--threads", "3", "--freeze-at", "never", "--device=cpu", "--no-prioritized")
    config, folder = config_of(flags), tmp_path / "run"
    with patch("seer.trainer.start_run") as start:
        worker.train_trial(config, folder)
    start.assert_called_once_with(dataclasses.replace(config, out=str(folder)))
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert state_of(folder) == "resumable"
    assert files(folder).keys() == {"config.json"}  # looking leaves nothing behind
    with patch("seer.trainer.resume_run") as resume:
        worker.train_trial(config, folder)
    changes = {"device": "cpu", "threads": 3, "env_timeout": 300, "checkpoint_every": 10_000}
    changes |= {"snapshot_every": None, "log": (), "keep_replay": False, "replay_on": None, "compile": False}
    resume.assert_called_once_with(folder, changes)
