"""Learning curves: the right curves, bands, freeze lines, dots and labels from the runs' own records."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from drawn_runs import (
    FROZEN,
    NEVER,
    STEPS,
    band,
    dashed,
    draw_runs,
    labels,
    line,
    make_automatic,
    make_run,
    score,
)
from seer.errors import SettingError
from seer.reporting.curves import group_runs, label, read_run
from seer.reporting.plots import plot_runs
from tiny_run import seer


def test_a_single_run_shows_everything_it_recorded(tmp_path: Path) -> None:
    figure = draw_runs([make_run(tmp_path)], x="steps")
    (axes,) = figure.axes
    assert line(axes, FROZEN) == (list(STEPS), [100, 200, 300, 400, 500])
    assert line(axes, "training episodes") == ([500, 1500, 2500, 3500, 4500], [95, 195, 295, 395, 495])
    assert np.allclose(band(axes, 0), 14)  # twice the std over evaluation episodes
    assert dashed(axes) == [2000]
    assert [text.get_text() for text in axes.texts] == ["freeze"]
    assert axes.get_title(loc="left") == "ALE/Alien-v5"
    assert axes.get_xlabel() == "training steps (agent decisions)"
    assert labels(figure) == [
        FROZEN,
        "training episodes",
        "± one standard deviation over evaluation episodes",
    ]


def test_seeds_become_mean_and_band(tmp_path: Path) -> None:
    figure = draw_runs(
        [make_run(tmp_path, at=at, seed=seed) for at in ("2000", "never") for seed in range(3)], x="steps"
    )
    (axes,) = figure.axes
    for name in (FROZEN, NEVER):
        assert line(axes, name) == (list(STEPS), [130, 230, 330, 430, 530])
    for number in range(2):
        assert np.allclose(band(axes, number), 2 * np.std([0, 30, 60], ddof=1))
    assert dashed(axes) == [2000]
    assert labels(figure) == [FROZEN, NEVER, "± one standard deviation over 3 seeds"]
    assert len({found.get_color() for found in axes.lines if found.get_linestyle() == "-"}) == 2


def test_seeds_can_be_seen_one_by_one(tmp_path: Path) -> None:
    folders = [make_run(tmp_path, seed=seed) for seed in range(3)]
    (axes,) = draw_runs(folders, x="steps", per_seed=True).axes
    thin = [list(map(float, found.get_ydata())) for found in axes.lines if found.get_linewidth() < 1]
    assert thin == [[score(seed, step) for step in STEPS] for seed in range(3)]
    (axes,) = draw_runs(folders[:1], x="steps", per_seed=True).axes
    assert not [found for found in axes.lines if found.get_linewidth() < 1]  # it is the mean


def test_flops_and_seconds(tmp_path: Path) -> None:
    folders = [make_run(tmp_path, seed=seed) for seed in (0, 1)]
    (axes,) = (figure := draw_runs(folders, x="flops")).axes
    assert line(axes, FROZEN)[0] == [1e12, 2e12, 2.1e12, 2.2e12, 2.3e12]
    assert dashed(axes) == [2e12]
    assert axes.get_xlabel() == "FLOPs ($10^{12}$ multiply-adds)"
    figure.draw_without_rendering()
    assert [tick.get_text() for tick in axes.get_xticklabels()][:3] == ["0", "0.5", "1"]
    (axes,) = draw_runs(folders, x="seconds").axes
    assert line(axes, FROZEN)[0] == [20.5, 40.5, 60.5, 80.5, 100.5]
    assert dashed(axes) == [40.5]
    assert axes.get_xlabel() == "wall time (seconds)"


def test_a_panel_for_each_environment(tmp_path: Path) -> None:
    games = [f"ALE/{name}-v5" for name in ("Alien", "BankHeist", "Qbert", "Krull", "Amidar")]
    figure = draw_runs([make_run(tmp_path, env=game, at=at) for game in games for at in ("never", "2000")], x="steps")
    assert [axes.get_title(loc="left") for axes in figure.axes] == games
    assert labels(figure) == [NEVER, FROZEN, "± one standard deviation over evaluation episodes"]
    colours = {tuple(found.get_color() for found in axes.lines if found.get_label() == NEVER) for axes in figure.axes}
    assert len(colours) == 1  # a setting looks the same in every panel
    assert not any(found.get_label() == "training episodes" for axes in figure.axes for found in axes.lines)


def test_other_settings_are_not_mistaken_for_seeds(tmp_path: Path) -> None:
    folders = [make_run(tmp_path, at="never", seed=seed, memory=memory) for memory in (None, "70MB") for seed in (0, 1)]
    figure = draw_runs(folders, x="steps")
    assert labels(figure) == [NEVER, f"{NEVER}, memory 70MB", "± one standard deviation over 2 seeds"]


def test_a_variant_is_called_the_same_in_every_environment(tmp_path: Path) -> None:
    alien = [make_run(tmp_path, memory=memory) for memory in (None, "70MB")]
    qbert = make_run(tmp_path, env="ALE/Qbert-v5", memory="70MB")
    assert [group.label for group in group_runs([read_run(folder) for folder in (*alien, qbert)])] == [
        FROZEN, f"{FROZEN}, memory 70MB", f"{FROZEN}, memory 70MB",
    ]  # fmt: skip


def test_a_setting_an_older_run_does_not_name_sets_nothing_apart(tmp_path: Path) -> None:
    older, newer = make_run(tmp_path), make_run(tmp_path, seed=1)
    config = json.loads((newer / "config.json").read_text())
    (newer / "config.json").write_text(json.dumps(config | {"image": {"size": 84, "stack": 4}}))
    assert labels(draw_runs([older, newer], x="steps")) == [FROZEN, "± one standard deviation over 2 seeds"]


def test_a_shorter_seed_shortens_the_mean(tmp_path: Path) -> None:
    folders = [make_run(tmp_path, seed=0), make_run(tmp_path, seed=1, steps=STEPS[:3])]
    (axes,) = draw_runs(folders, x="steps").axes
    assert line(axes, FROZEN) == ([1000, 2000, 3000], [115, 215, 315])


def test_single_runs_beside_seeds_are_said_to_be(tmp_path: Path) -> None:
    folders = [make_run(tmp_path), make_run(tmp_path, seed=1), make_run(tmp_path, at="never")]
    assert labels(draw_runs(folders, x="steps"))[-1].endswith("over 2 seeds, or evaluation episodes of a single one")


@pytest.mark.parametrize("name", ["curve.png", "new/folder/curve.svg"])
def test_pictures_are_written(tmp_path: Path, name: str) -> None:
    out = plot_runs([make_run(tmp_path)], x="steps", out=tmp_path / name)
    assert out == tmp_path / name
    if out.suffix == ".png":
        height, width, _ = matplotlib.image.imread(out).shape
        assert width > 1000
        assert height > 600
    else:
        assert ">Rainbow + SEER, freeze at 2,000<" in out.read_text()


def test_no_word_leaves_the_picture(tmp_path: Path) -> None:
    games = ("ALE/Alien-v5", "ALE/BankHeist-v5")
    for count in (1, 2):
        root = tmp_path / str(count)
        figure = draw_runs(
            [make_run(root, env=game, at=at) for game in games[:count] for at in ("2000", "never")], x="steps"
        )
        figure.draw_without_rendering()
        legend = figure.legends[0].get_window_extent()
        assert legend.x0 >= 0
        assert legend.x1 <= figure.bbox.x1
        for axes in figure.axes:
            assert axes.get_tightbbox().y0 >= legend.y1


def test_what_cannot_be_drawn_is_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(SettingError, match=r"--out .*curve\.pdf is no picture"):
        plot_runs([run], x="steps", out=tmp_path / "curve.pdf")
    with pytest.raises(SettingError, match="is no run"):
        plot_runs([tmp_path / "missing"], x="steps", out=tmp_path / "curve.png")
    with pytest.raises(SettingError, match="can't be written"):
        plot_runs([run], x="steps", out=run / "config.json" / "curve.png")
    with pytest.raises(SettingError, match="have the same settings and seed"):
        draw_runs([run, make_run(tmp_path / "again")], x="steps")
    with pytest.raises(SettingError, match="never evaluated at the same step"):
        draw_runs([run, make_run(tmp_path, seed=1, steps=range(1500, 3000, 1000))], x="steps")
    with pytest.raises(SettingError, match="holds no evaluation yet"):
        draw_runs([make_run(tmp_path, seed=2, steps=range(0))], x="steps")
    (run / "config.json").write_text("{}")
    with pytest.raises(SettingError, match=r"config\.json lacks agent, env, freeze\.at, seed"):
        draw_runs([run], x="steps")
    assert not (tmp_path / "curve.png").exists()


def test_a_run_given_twice_counts_once(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert len(draw_runs([run, run], x="steps").axes[0].collections) == 1


def test_an_automatic_freeze_says_why(tmp_path: Path) -> None:
    (axes,) = draw_runs([make_automatic(tmp_path, 0, 2000)], x="steps").axes
    assert [text.get_text() for text in axes.texts] == ["freeze: features settled (similarity 0.988)"]
    (axes,) = draw_runs([make_automatic(tmp_path, 2, 2000, mode="mine:Rule")], x="steps").axes
    assert [text.get_text() for text in axes.texts] == ["freeze: features settled (similarity 0.988)"]
    (axes,) = draw_runs([make_automatic(tmp_path, 3, 2000, mode="step")], x="steps").axes
    assert [text.get_text() for text in axes.texts] == ["freeze"]
    assert "Rainbow + SEER, automatic freeze" in axes.get_legend_handles_labels()[1]
    (axes,) = draw_runs([make_automatic(tmp_path, 1, None)], x="steps").axes
    assert [text.get_text() for text in axes.texts] == ["not frozen: score at its floor (similarity 0.988)"]


def test_each_seed_has_its_own_automatic_freeze(tmp_path: Path) -> None:
    """One at 1,000, two at 4,000, one never: two lines, and nothing at their mean."""
    folders = [make_automatic(tmp_path, seed, at) for seed, at in enumerate((1000, 4000, 4000, None))]
    (axes,) = draw_runs(folders, x="steps").axes
    assert dashed(axes) == [1000, 4000]
    assert [text.get_text() for text in axes.texts] == ["freeze (3 of 4 seeds)"]
    (axes,) = draw_runs(folders, x="seconds").axes
    assert dashed(axes) == [20, 81.5]  # two seeds that took 81 and 82 seconds to the same step share a line
    page = tmp_path / "report.html"
    assert seer("report", *folders, "--out", page) == 0
    text = page.read_text()
    for words in (
        "automatic freeze, seed 0: frozen at 1,000 steps", "automatic freeze, seeds 1, 2: frozen at 4,000 steps",
        ">1,000</span>", ">features settled (similarity 0.988)</span>", ">score at its floor (similarity 0.988)</span>",
    ):  # fmt: skip
        assert words in text
    assert "2,500" not in text


def test_threads_and_the_like_set_no_runs_apart(tmp_path: Path) -> None:
    folders = [make_run(tmp_path, seed=seed) for seed in (0, 1)]
    for threads, folder in enumerate(folders, start=1):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"threads": threads}))
    assert labels(draw_runs(folders, x="steps")) == [FROZEN, "± one standard deviation over 2 seeds"]


def test_a_freeze_is_called_by_what_decides_it() -> None:
    words = {"never": ", never frozen", "auto": " + SEER, automatic freeze", "a:B": " + SEER, freeze by a:B"}
    for at, said in ({"5000": " + SEER, freeze at 5,000"} | words).items():
        assert label({"agent": "rainbow", "freeze.at": at}) == f"Rainbow{said}"


def test_a_run_that_began_with_another_is_called_so_whenever_it_freezes() -> None:
    for at, said in (("0", " + SEER"), ("40", " + SEER, freeze at 40"), ("never", ", never frozen")):
        settings = {"agent": "rainbow", "freeze.at": at}
        assert label(settings | {"freeze.agent_from": "runs/a"}) == f"Rainbow{said}, from another run"
        assert label(settings | {"freeze.encoder_from": "runs/a"}) == f"Rainbow{said}, another run's encoder"


def test_an_encoder_of_ones_own_is_called_so() -> None:
    settings = {"agent": "rainbow", "freeze.at": "0"}
    assert label(settings | {"freeze.encoder_factory": None}) == "Rainbow + SEER, another run's encoder"
    assert label(settings | {"freeze.encoder_factory": "a:b"}) == "Rainbow + SEER, your own encoder"
