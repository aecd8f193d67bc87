"""When to freeze: settled features, a score off its floor, bounds, and the same decision after a checkpoint."""

import inspect
import itertools
import json

import numpy as np
import pytest

from seer.config import FreezeConfig
from seer.core.freeze_rules import SETTINGS, FreezeAt, FreezeRule, StepMetrics, names_rule, parse_freeze_at
from seer.core.freeze_when_settled import FreezeWhenSettled, has_risen
from seer.errors import SettingError

LOW, HIGH = [1.0, 2, 0, 1, 3, 1, 2, 0, 1, 2], [5.0, 7, 6, 9, 4, 6, 8, 5, 7, 6]


def make(scores: list[float], *, threshold: float = 0.9, patience: int = 3, earliest: int = 30):
    rule = FreezeWhenSettled(threshold=threshold, patience=patience, earliest=earliest)
    rule.on_step(StepMetrics(1, episode_returns=scores))
    return rule


def first_due(rule: FreezeWhenSettled, similarities: list[float], every: int = 10) -> int | None:
    """The step at which a run would freeze that compares every ten steps."""
    for number, similarity in enumerate(similarities, start=1):
        step = number * every
        assert not rule.is_due(step)
        rule.on_step(StepMetrics(step, cka=similarity))
        if rule.is_due(step):
            return step
    return None


def test_a_given_step_is_due_from_then_on() -> None:
    """Environments side by side may pass over the very step."""
    assert [step for step in range(100) if FreezeAt(7).is_due(step)] == list(range(7, 100))
    assert not any(FreezeAt(None).is_due(step) for step in range(100))
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
    rule = make(LOW + HIGH)
    assert first_due(rule, similarities) == step
    assert rule.reason == ("features still change" if step is None else "features settled")


def test_it_says_that_features_are_alike_but_not_for_long() -> None:
    rule = make(LOW + HIGH)
    assert first_due(rule, [0.5] * 9 + [0.95] * 9) is None
    assert rule.reason == "features alike, not for long enough yet"
    with pytest.raises(SettingError, match="resume it with the seer of then"):
        rule.load_state_dict({"streak": 3})


@pytest.mark.parametrize("scores", [[], LOW, LOW + LOW, LOW + HIGH[:9], HIGH + LOW])
def test_it_never_freezes_an_agent_that_has_learnt_nothing(scores: list[float]) -> None:
    rule = make(scores)
    assert first_due(rule, [1.0] * 100) is None
    assert rule.reason == "score at its floor"


@pytest.mark.parametrize("latest", [150, 155])
def test_the_latest_step_waits_for_nothing(latest: int) -> None:
    """A step that is passed over, as by environments side by side, counts at the next."""
    rule = FreezeWhenSettled(latest=latest, earliest=30)
    for step in range(10, 10 + latest, 10):
        rule.on_step(StepMetrics(step, cka=0.5))
        # what the comparison's record says
        assert rule.reason == ("comparisons before step 30 don't count" if step < 30 else "features still change")
        if rule.is_due(step):
            break
    assert (rule.due_from, rule.reason) == (10 * -(-latest // 10), "latest step")


def test_patience_counts_where_steps_would_be_too_few() -> None:
    assert first_due(make(LOW + HIGH, earliest=0, patience=5), [0.95] * 9) == 50
    assert first_due(make(LOW + HIGH, earliest=0, patience=1), [0.95] * 9) == 20


def test_the_earliest_decision_is_that_of_features_that_never_change() -> None:
    grid = itertools.product((0, 20, 90, 100, 5000), (1, 40, 2500), (1, 3, 9), (1, 80, 6000))
    for earliest, every, patience, first_update in grid:
        rule = make(LOW + HIGH, earliest=earliest, patience=patience)
        step = every  # of the first probe, which compares nothing
        while not rule.is_due(step):
            step += every
            if step > first_update:  # probes come before the step's update
                rule.on_step(StepMetrics(step, cka=1.0))
        for latest in (None, step - 1, step + 1):
            made = FreezeConfig(at="auto", earliest=earliest, patience=patience, latest=latest).make_rule()
            earliest_step = made.earliest_step(probe_every=every, first_update=first_update)
            assert earliest_step == (step if latest is None else min(step, latest))


def test_it_freezes_as_soon_as_the_score_has_risen() -> None:
    rule = make(LOW)
    assert first_due(rule, [0.95] * 9) is None
    rule.on_step(StepMetrics(91, episode_returns=HIGH))
    for step in (100, 110, 120):
        assert not rule.is_due(step)
        rule.on_step(StepMetrics(step, cka=0.97))
    assert rule.is_due(120)  # the third look at the risen score
    assert (rule.reason, rule.similarity) == ("features settled", 0.97)


def test_a_score_that_has_left_its_floor_has_left_it() -> None:
    """Later games that scatter, or fail, don't bring the agent back to where it had learnt nothing."""
    rule = make(LOW + HIGH)
    assert first_due(rule, [0.5] * 3) is None
    rule.on_step(StepMetrics(31, episode_returns=LOW))
    assert first_due(rule, [0.95] * 9) == 60


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
        rule = FreezeWhenSettled()
        for step in range(2500, 500_001, 2500):
            games = [float(next(scores)) for _ in range(4)]  # of some 600 decisions
            rule.on_step(StepMetrics(step, episode_returns=games, cka=1.0))
            if rule.is_due(step):
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
                resumed.on_step(StepMetrics((number + 1) * 10, cka=similarities[number]))
                if resumed.is_due((number + 1) * 10):
                    break
            assert (resumed.reason, resumed.streak, resumed.alike_since) == (
                whole.reason, whole.streak, whole.alike_since,
            )  # fmt: skip
            assert resumed.due_from == expected


class Patient(FreezeWhenSettled):
    """A rule of one's own, derived from that of auto."""


class LossStalls(FreezeRule):
    """Freezes at the first loss that isn't lower than the one before."""

    def __init__(self, *, latest: int | None = None) -> None:
        self.latest, self.before = latest, float("inf")

    def on_step(self, metrics: StepMetrics) -> None:
        loss = metrics.losses.get("loss", self.before - 1)
        if loss >= self.before:
            self.due_from, self.reason = metrics.step, "loss stalls"
        self.before = loss


@pytest.mark.parametrize(
    ("text", "step", "rule", "words"),
    [
        ("never", None, None, "never frozen"),
        ("0", 0, None, "freeze at 0"),
        ("50000", 50_000, None, "freeze at 50,000"),
        ("auto", None, "seer.core.freeze_when_settled:FreezeWhenSettled", "automatic freeze"),
        ("my_rules:LossStalls", None, "my_rules:LossStalls", "freeze by my_rules:LossStalls"),
        ("a.b.c:D", None, "a.b.c:D", "freeze by a.b.c:D"),
    ],
)
def test_freeze_at_is_a_step_never_or_a_rule(text: str, step: int | None, rule: str | None, words: str) -> None:
    choice = parse_freeze_at(text)
    assert (choice.step, choice.rule, choice.is_never, str(choice)) == (step, rule, text == "never", words)
    assert names_rule(text) == (rule is not None)


@pytest.mark.parametrize("text", ["", "soon", "-1", "07", "1_000", "0x10", "1.5", "\uff11", "Auto", ":", "a:", "a b:c"])
def test_what_freeze_at_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match=r"is no step; .* number, auto, never, or package\.module:Class"):
        parse_freeze_at(text)
    assert not names_rule(text)


def test_a_rule_of_ones_own_gets_the_settings_it_has_keywords_for() -> None:
    rule = FreezeConfig(at=f"{__name__}:LossStalls", latest=90).make_rule()
    assert (type(rule).__name__, vars(rule)["latest"]) == ("LossStalls", 90)
    for step, loss in ((20, 3.0), (21, 2.0)):
        rule.on_step(StepMetrics(step, losses={"loss": loss}))
        assert not rule.is_due(step)
    rule.on_step(StepMetrics(22, losses={"loss": 2.5}))
    assert rule.account() == {"mode": f"{__name__}:LossStalls", "reason": "loss stalls", "similarity": None}
    assert parse_freeze_at(f"{__name__}:Patient").make().account()["mode"] == f"{__name__}:Patient"
    assert LossStalls().account()["mode"] == f"{__name__}:LossStalls"
    assert FreezeConfig(at="auto").make_rule().account()["mode"] == FreezeWhenSettled().account()["mode"] == "auto"
    again = parse_freeze_at(f"{__name__}:LossStalls").make()
    again.load_state_dict(json.loads(json.dumps(rule.state_dict())))
    assert (again.due_from, again.reason) == (22, "loss stalls")


def test_a_setting_that_a_rule_has_no_keyword_for_is_refused() -> None:
    with pytest.raises(
        SettingError, match=r"--freeze-patience 7: the freeze rule .*:LossStalls has none; leave it out"
    ):
        FreezeConfig(at=f"{__name__}:LossStalls", patience=7).make_rule()


def test_settings_at_their_defaults_are_left_to_the_rule() -> None:
    """Those of the flags and of the automatic rule are the same, or one of them would have no effect."""
    config, keywords = FreezeConfig(), inspect.signature(FreezeWhenSettled).parameters
    for name, (flag, default) in SETTINGS.items():
        assert getattr(config, flag.removeprefix("--freeze-")) == keywords[name].default == default


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("no_such_module:Rule", "can't be made .*no_such_module"),
        ("seer.core.freeze_rules:Missing", "can't be made .*Missing"),
        ("seer.core.phase:Phase", "can't be made .*name a subclass of seer.FreezeRule"),
        ("fractions:Fraction", "makes a Fraction: name a subclass of seer.FreezeRule"),
    ],
)
def test_a_rule_that_is_none_is_refused_in_one_line(place: str, complaint: str) -> None:
    with pytest.raises(SettingError, match=complaint):
        parse_freeze_at(place).make()
