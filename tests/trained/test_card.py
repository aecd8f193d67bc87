"""`seer card`: a folder to share acts as the run's agent does, says what is known of it, and is checked when read."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seer
from kept_run import FLAGS, STEP, keep_run
from seer.config import config_from_json
from seer.core.phase import Phase
from seer.runs.snapshots import save_snapshot
from seer.trained.shared_folder import portable
from tiny_run import config_of, files
from tiny_run import seer as command

Capture = pytest.CaptureFixture[str]
FILES = {"LICENSE", "README.md", "config.json", "learning_curve.png", "model.safetensors"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    keep_run(folder / "run", "dqn")
    assert command("card", folder / "run", "--out", folder / "agent") == 0
    return folder / "agent"


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_a_folder_acts_as_the_run_does_bit_for_bit_where_its_environment_is_missing(name: str, tmp_path: Path) -> None:
    run, folder = tmp_path / "run", tmp_path / "agent"
    keep_run(run, name, phase=Phase.FRAMES if name == "sac" else Phase.LATENTS)
    agent = seer.load(run)
    assert command("card", run, "--out", folder) == 0
    shutil.rmtree(run)
    assert not any(str(tmp_path) in file.read_text() for file in (folder / "config.json", folder / "README.md"))
    content = json.loads((folder / "config.json").read_text())
    content["settings"]["env"] = "nowhere:Gone-v0"
    (folder / "config.json").write_text(json.dumps(content))
    read = seer.load(folder)
    observations = np.random.default_rng(3).integers(256, size=(9, *agent.observation_shape), dtype=np.uint8)
    for deterministic in (True, False):
        actions = [each.act(observations, deterministic=deterministic) for each in (agent, read)]
        assert np.array_equal(*actions)
    assert np.array_equal(agent.encode(observations), read.encode(observations))
    picture = np.random.default_rng(4).integers(256, size=(50, 60, 3), dtype=np.uint8)
    assert np.array_equal(agent.observe(picture), read.observe(picture))
    for known in ("step", "phase", "observation_shape", "action_space", "latent_shape"):
        assert getattr(read, known) == getattr(agent, known)
    with pytest.raises(seer.SettingError, match="nowhere"):
        read.make_env()


def changed(**values: Any) -> Callable[[Path], None]:
    """Change `config.json`, inside a group where a name has two underscores."""

    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        for name, value in values.items():
            place, *groups = reversed(name.split("__"))
            part = content
            for group in reversed(groups):
                part = part[group]
            part[place] = value
        (folder / "config.json").write_text(json.dumps(content))

    return change


def flip(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs"), "it has 23 bytes in"),
        (flip, "its bytes don't match their sha256"),
        (changed(settings__learning__hidden_units=8), "doesn't fit config.json"),
        (changed(interface__actions__count=4), "doesn't fit config.json"),
        (changed(settings__agent="dreamer"), "--agent 'dreamer' is unknown"),
        (changed(version=2, seer="9.1"), "reads version 1: use seer 9.1"),
        (
            changed(settings__freeze__encoder_factory="os:abort"),
            "--encoder-factory os:abort: an agent with code",
        ),
        (changed(settings__agent="this:s"), "--agent this:s: an agent with code of one's own"),
        (changed(interface__stack=10**9), "stack 1000000000"),
        (changed(interface__frame_shape=[1, 44]), "the agent's interface can't be read"),
        (changed(interface__actions={"count": "x"}), "can't be read"),
        (changed(interface__actions={"low": [0], "high": [1e999], "dtype": "float32", "from_centre": True}), "finite"),
        (changed(settings=None), "can't be read"),
        (changed(decisions="many"), "can't be read"),
        (changed(settings__learning__hidden_units=-3), "--hidden-units -3"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    damage: Callable[[Path], None], words: str, shared: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "agent"
    shutil.copytree(shared, folder)
    damage(folder)
    with pytest.raises(seer.SettingError) as caught:
        seer.load(folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "this" not in sys.modules, "nothing that the folder names is imported"


def test_settings_that_only_training_reads_import_nothing(shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    shutil.copytree(shared, folder)
    changed(settings__log=["this:s"], settings__freeze__at="this:s", settings__out="this:s")(folder)
    assert seer.load(folder).step == STEP
    assert "this" not in sys.modules


def test_a_folder_is_no_run_and_names_no_other_step(shared: Path, capsys: Capture) -> None:
    for words in (("eval", shared), ("card", shared, "--out", shared / "again"), ("resume", shared)):
        assert command(*words) == 2
        complaint = capsys.readouterr().err
        assert "is an agent that seer card wrote" in complaint
        assert complaint.count("\n") == 1
    assert seer.load(shared, step=STEP).step == STEP
    with pytest.raises(seer.SettingError, match="holds step 120 alone"):
        seer.load(shared, step=60)


def test_the_card_of_a_finished_run_says_what_the_run_says(finished_run: Path, tmp_path: Path, capsys: Capture) -> None:
    before, folder = files(finished_run), tmp_path / "agent"
    assert command("card", finished_run, "--out", folder, "--license", "cc-by-4.0", "--author", "A. Trainer") == 0
    assert "hf upload USER/rainbow-ALE-Pong-v5-0" in " ".join(capsys.readouterr().out.split())
    assert files(finished_run) == before
    assert {file.name for file in folder.iterdir()} == FILES
    summary = json.loads((finished_run / "summary.json").read_text())
    card, last = (folder / "README.md").read_text(), summary["evaluation"][-1]
    front = card.split("---\n")[1]
    assert f'value: "{last["mean"]:.2f} +/- {last["std"]:.2f}"' in front
    assert "license: cc-by-4.0" in front
    for told in (
        f"| {last['mean']:.2f} ± {last['std']:.2f} |", "| 1 whole episode, without", "| 1, seed 0 |", "step 700",
        f"{summary['flops']['total'] / summary['flops']['baseline']:.2f} of the FLOPs", "learning_curve.png",
        "the larger of the last two console pictures", "One training run", "under Creative Commons Attribution 4.0",
    ):  # fmt: skip
        assert told in card
    assert "A. Trainer" in (folder / "LICENSE").read_text()
    (line,) = re.findall(r"^seer train (.*)$", card, re.MULTILINE)
    assert str(finished_run) not in card + (folder / "config.json").read_text()
    trained = config_from_json(json.loads((finished_run / "config.json").read_text()))
    reproduced = config_of([*shlex.split(line), "--out", trained.out or ""])
    assert reproduced == trained


def test_a_card_says_only_what_is_of_its_step(tmp_path: Path) -> None:
    run, folder = tmp_path / "run", tmp_path / "agent"
    agent = keep_run(run, "drqv2")
    save_snapshot(run, 60, agent)
    assert command("card", run, "--out", folder, "--step", "60") == 0
    card = (folder / "README.md").read_text()
    assert '"9.00 +/- 3.00"' in card
    assert "never frozen" in card
    assert "weights are those of step 60 of 200" in card
    assert seer.load(folder).step == 60
    assert command("card", run, "--out", tmp_path / "last") == 0
    card = (tmp_path / "last/README.md").read_text()
    assert "model-index" not in card
    assert "no evaluation at this step" in card
    assert "frozen at step 100" in card


def test_a_folder_to_share_names_no_place_on_the_machine_that_trained(tmp_path: Path) -> None:
    save_snapshot(tmp_path / "first", 60, keep_run(tmp_path / "first", "dqn"))
    for flags, named in (
        (("--from", tmp_path / "first"), "first"),
        (
            ("--encoder-from", tmp_path / "first/snapshots/step-000000060.safetensors"),
            "first/snapshots/step-000000060.",
        ),
    ):
        run, folder = tmp_path / f"run{flags[0]}", tmp_path / f"agent{flags[0]}"
        keep_run(run, "dqn", *map(str, flags), "--replay-on", str(tmp_path))
        assert command("card", run, "--out", folder) == 0
        card = (folder / "README.md").read_text()
        assert f" {flags[0]} {named}" in card
        assert str(tmp_path) not in card + (folder / "config.json").read_text()
        assert seer.load(folder).config == portable(seer.load(run).config)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--out", "agent", "--license", "gpl"], "--license gpl: seer has the text of mit, apache-2.0"),
        (["--out", "taken"], "taken exists"),
        (["--out", "nowhere/agent"], "there is no folder nowhere"),
        ([], "--out"),
        (["--out", "agent", "--step", "7"], "keeps no weights of it"),
        (["--out", "agent"], "--encoder-factory kept_run:make_module: an agent with code of one's own"),
    ],
)
def test_bad_flags_are_one_line_and_leave_nothing(
    flags: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    own = ("--encoder-factory", "kept_run:make_module", "--freeze-at", "0")
    keep_run(Path("run"), "dqn", *(own if "factory" in words else ()))
    Path("taken").mkdir()
    assert command("card", "run", *flags) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"run", "taken"}


def test_a_folder_that_does_something_else_is_not_left_behind(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    keep_run(tmp_path / "run", "dqn", seed=8)
    monkeypatch.setattr("seer.trained.card.load", lambda folder, device: seer.load(shared, device=device))
    assert command("card", tmp_path / "run", "--out", tmp_path / "agent") == 2
    assert re.search("doesn't (act|encode) as the agent does", " ".join(capsys.readouterr().err.split()))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


READ_BY_THE_HUB = """
import sys
from huggingface_hub import ModelCard

card = ModelCard.load(sys.argv[1] + "/README.md")
(result,) = card.data.eval_results
assert (card.data.license, card.data.library_name) == ("mit", "seer-rl"), card.data.to_dict()
assert (result.task_type, result.metric_type) == ("reinforcement-learning", "mean_reward")
assert result.dataset_name == sys.argv[2]
print(result.metric_value)
"""


@pytest.mark.slow
def test_hugging_face_s_own_client_reads_the_card(finished_run: Path, tmp_path: Path) -> None:
    """In an environment of its own, without the network that its validation of YAML would ask."""
    folder, python = tmp_path / "agent", tmp_path / "environment/bin/python"
    assert command("card", finished_run, "--out", folder) == 0
    for words in (
        (sys.executable, "-m", "venv", "--without-pip", tmp_path / "environment"),
        (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "huggingface_hub>=1"),
    ):
        subprocess.run(list(map(str, words)), check=True)
    words = [str(python), "-c", READ_BY_THE_HUB, str(folder), "ALE/Pong-v5"]
    read = subprocess.run(words, capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
    assert re.fullmatch(r"-?\d+\.\d\d \+/- \d+\.\d\d\n", read.stdout)
