"""When to freeze: settled features, a score off its floor, bounds, and the same decision after a checkpoint."""

import itertools
import json

import numpy as np
import pytest

from seer.config import FreezeConfig
from seer.core.freeze_rules import FreezeAt, FreezeWhenSettled, has_risen
from seer.errors import SettingError
from seer.validation import earliest_decision

LOW, HIGH = [1.0, 2, 0, 1, 3, 1, 2, 0, 1, 2], [5.0, 7, 6, 9, 4, 6, 8, 5, 7, 6]


def make(scores: list[float], *, threshold: float = 0.9, patience: int = 3, earliest: int = 30):
    freezing = FreezeWhenSettled(threshold=threshold, patience=patience, earliest=earliest)
    for score in scores:
        freezing.scored(score)
    return freezing


def first_due(freezing: FreezeWhenSettled, similarities: list[float], every: int = 10) -> int | None:
    """The step at which a run would freeze that compares every ten steps."""
    for number, similarity in enumerate(similarities, start=1):
        step = number * every
        freezing.compared(step, similarity)
        assert not freezing.due(step - 1)
        if freezing.due(step):
            return step
    return None


def test_a_given_step_is_due_once() -> None:
    assert [step for step in range(100) if FreezeAt(7).due(step)] == [7]
    assert not any(FreezeAt(None).due(step) for step in range(100))
    assert (FreezeAt(7).mode, FreezeAt(None).mode) == ("step", "never")


@pytest.mark.parametrize(
    ("similarities", "step"),
    [
        ([0.95] * 9, 60),  # counting starts at the earliest step, 30; alike for as long as until then
        ([0.95] * 3 + [0.5] + [0.95] * 4 + [0.9] * 9, 100),  # one change starts the count again, at 50; 0.9 is enough
        ([0.95, 0.5] * 9, None),
        ([0.95, 0.95, float("nan")] * 4, None),
        ([0.5] * 30, None),
    ],
)
def test_it_waits_for_settled_features(similarities: list[float], step: int | None) -> None:
    freezing = make(LOW + HIGH)
    assert first_due(freezing, similarities) == step
    assert freezing.reason == ("features still change" if step is None else "features settled")


def test_it_says_that_features_are_alike_but_not_for_long() -> None:
    freezing = make(LOW + HIGH)
    assert first_due(freezing, [0.5] * 9 + [0.95] * 9) is None
    assert freezing.reason == "features alike, not for long enough yet"
    with pytest.raises(SettingError, match="resume it with the seer of then"):
        freezing.load_state_dict({"streak": 3})


@pytest.mark.parametrize("scores", [[], LOW, LOW + LOW, LOW + HIGH[:9], HIGH + LOW])
def test_it_never_freezes_an_agent_that_has_learnt_nothing(scores: list[float]) -> None:
    freezing = make(scores)
    assert first_due(freezing, [1.0] * 100) is None
    assert freezing.reason == "score at its floor"


@pytest.mark.parametrize("latest", [150, 155])
def test_the_latest_step_waits_for_nothing(latest: int) -> None:
    """A step that is passed over, as by environments side by side, counts at the next."""
    freezing = FreezeWhenSettled(latest=latest, earliest=30)
    assert [step for step in range(10, 300, 10) if freezing.due(step)] == [10 * -(-latest // 10)]
    assert freezing.reason == "latest step"


def test_patience_counts_where_steps_would_be_too_few() -> None:
    assert first_due(make(LOW + HIGH, earliest=0, patience=5), [0.95] * 9) == 50
    assert first_due(make(LOW + HIGH, earliest=0, patience=1), [0.95] * 9) == 20


def test_the_earliest_decision_is_that_of_features_that_never_change() -> None:
    grid = itertools.product((0, 20, 90, 100, 5000), (1, 40, 2500), (1, 3, 9), (1, 80, 6000))
    for earliest, every, patience, first_update in grid:
        freezing = make(LOW + HIGH, earliest=earliest, patience=patience)
        step = every  # of the first probe, which compares nothing
        while not freezing.due(step):
            step += every
            if step > first_update:  # probes come before the step's update
                freezing.compared(step, 1.0)
        settings = FreezeConfig(earliest=earliest, probe_every=every, patience=patience)
        assert earliest_decision(settings, first_update) == step


def test_it_freezes_as_soon_as_the_score_has_risen() -> None:
    freezing = make(LOW)
    assert first_due(freezing, [0.95] * 9) is None
    for score in HIGH:
        freezing.scored(score)
    for step in (100, 110, 120):
        assert not freezing.due(step - 10)
        freezing.compared(step, 0.97)
    assert freezing.due(120)  # the third look at the risen score
    assert (freezing.reason, freezing.similarity) == ("features settled", 0.97)


def test_a_score_that_has_left_its_floor_has_left_it() -> None:
    """Later games that scatter, or fail, don't bring the agent back to where it had learnt nothing."""
    freezing = make(LOW + HIGH)
    assert first_due(freezing, [0.5] * 3) is None
    for score in LOW:
        freezing.scored(score)
    assert first_due(freezing, [0.95] * 9) == 60


def test_the_score_has_risen_by_welchs_t() -> None:
    rng = np.random.default_rng(0)
    for shift in np.linspace(-1, 5, 60):
        first, newest = rng.normal(size=10), rng.normal(shift, 2, size=10)
        t = (newest.mean() - first.mean()) / np.sqrt(first.var(ddof=1) / 10 + newest.var(ddof=1) / 10)
        assert has_risen(list(first), list(newest)) == (t > 4)


@pytest.mark.parametrize("draw", ["normal", "exponential", "lognormal"])
def test_scores_that_never_rise_hardly_ever_look_as_if(draw: str) -> None:
    """A run of 500,000 steps looks 200 times, so that chance alone would often do at one look."""
    rng, falsely = np.random.default_rng(0), 0
    for _ in range(100):
        scores = iter(getattr(rng, draw)(size=800))
        freezing = FreezeWhenSettled()
        for step in range(2500, 500_001, 2500):
            for _ in range(4):  # games of some 600 decisions
                freezing.scored(float(next(scores)))
            freezing.compared(step, 1.0)
            if freezing.due(step):
                falsely += 1
                break
    assert falsely <= 1


def test_the_same_score_for_ever_is_no_rise() -> None:
    assert not has_risen([-21.0] * 10, [-21.0] * 10)
    assert has_risen([-21.0] * 10, [-20.0] * 10)


def test_a_checkpoint_changes_no_decision() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        similarities = list(rng.choice([0.8, 0.95], p=[0.2, 0.8], size=15))
        whole, part, resumed = make(LOW + HIGH), make(LOW + HIGH), make([])
        cut = int(rng.integers(1, 15))
        expected = first_due(whole, similarities)
        before = first_due(part, similarities[:cut])
        resumed.load_state_dict(json.loads(json.dumps(part.state_dict())))
        assert resumed.state_dict() == part.state_dict()
        if before is None:
            for number in range(cut, 15):
                resumed.compared((number + 1) * 10, similarities[number])
                if resumed.due((number + 1) * 10):
                    break
            assert (resumed.reason, resumed.streak, resumed.alike_since) == (
                whole.reason, whole.streak, whole.alike_since,
            )  # fmt: skip
            assert resumed.due(expected or 0) == (expected is not None)
