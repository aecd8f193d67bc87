"""The decision when to freeze, as a model comes to it over one or more calls of `learn`."""

from typing import Any
from weakref import WeakKeyDictionary

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from seer.core.freeze_rules import FreezeRule, StepMetrics
from seer.integrations.stable_baselines3.buffer import SeerReplayBuffer
from seer.integrations.stable_baselines3.cut import Cut
from seer.integrations.stable_baselines3.feature_stability import FeatureStability


class FreezeDecision:
    """Tells a freeze rule what every step brings.

    Args:
        rule: is told.
        settings: of the callback that asked; another with the same goes on with this decision.
        probe_every: steps between two comparisons of features.

    Attributes:
        rule, settings: as given.
        step: the last that the rule was told of.
    """

    def __init__(self, rule: FreezeRule, settings: object, probe_every: int) -> None:
        self.rule, self.settings, self.step = rule, settings, 0
        self._probe_every = probe_every
        self._stability = FeatureStability()
        self._probed_at = self._learnt = 0  # timesteps and updates at the last comparison

    def observe(self, model: OffPolicyAlgorithm, cut: Cut, infos: list[dict[str, Any]]) -> None:
        """Tell the rule what this step brought."""
        self.step = model.num_timesteps
        logged = model.logger.name_to_value.items()
        self.rule.on_step(
            StepMetrics(
                step=self.step,
                updates=model._n_updates,
                episode_returns=[float(info["episode"]["r"]) for info in infos if "episode" in info],
                losses={name.removeprefix("train/"): value for name, value in logged if name.startswith("train/")},
                cka=self._compare_features(model, cut) if self.rule.compares_features else None,
            )
        )

    def finish(self) -> None:
        """Drop what is held only to decide."""
        self._stability = FeatureStability()

    def _compare_features(self, model: OffPolicyAlgorithm, cut: Cut) -> float | None:
        """Return how alike the features are to those of the last comparison, at every `probe_every` steps."""
        is_due = self.step // self._probe_every > self._probed_at // self._probe_every
        if not is_due or model._n_updates == self._learnt:
            return None
        self._probed_at, self._learnt = self.step, model._n_updates
        assert isinstance(model.replay_buffer, SeerReplayBuffer)
        similarity = self._stability.compare(model.policy, model.replay_buffer, cut, span=self._probe_every)
        if similarity is not None:
            model.logger.record("seer/similarity", similarity)
        return similarity


DECISIONS: WeakKeyDictionary[OffPolicyAlgorithm, FreezeDecision] = WeakKeyDictionary()
"""By model, so that `learn` can be called again with a new callback; SB3 would save an attribute of the model's."""
