"""The freeze as a callback of Stable-Baselines3."""

import time
import warnings
from numbers import Integral
from typing import Literal, get_args

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from seer.core.freeze_rules import FreezeRule, parse_freeze_at
from seer.errors import SettingError
from seer.integrations.stable_baselines3.buffer import SeerReplayBuffer
from seer.integrations.stable_baselines3.cut import Cut, Layers, choose_cut
from seer.integrations.stable_baselines3.decision import DECISIONS, FreezeDecision
from seer.integrations.stable_baselines3.environments import find_frame_stack, has_monitor
from seer.integrations.stable_baselines3.extractors import features_row, freeze, frozen_extractors, online_networks
from seer.integrations.stable_baselines3.feature_stability import num_observations
from seer.integrations.stable_baselines3.subclass_check import check_subclass
from seer.replay import Transcoding

ALGORITHMS = ("DQN", "QRDQN", "SAC", "TD3", "TQC")  # and what is derived from them
LatentDtype = Literal["auto", "float32", "float16", "bfloat16"]
PROGRESS_SECONDS = 5.0


class SeerCallback(BaseCallback):
    """Freezes the policy's features extractors and turns the replay into their features (SEER, algorithm 1).

    A model that was saved after its freeze is frozen again, with the same extractors, when it goes on learning.
    `learn` may be called again with this callback or a new one of the same settings: the decision goes on where it was.
    To add steps to the buffer before `learn`, call `init_callback(model)` first.

    Args:
        freeze_at: the step of the freeze, counted as SB3 counts `num_timesteps`, over all environments; 0 is before
            the first. "auto": once features have settled and the score has left where it began, as
            `seer train --freeze-at auto` decides. "never"; or a `seer.FreezeRule` of your own, "package.module:Class".
        freeze_layers: "all" of the features extractor; or the "convolutions" of a `NatureCNN`, whose linear layer goes
            on learning. "auto": the convolutions where `net_arch` is empty, as in SB3's DQN with CnnPolicy, so that
            more than one linear layer goes on learning; else all.
        latent_dtype: what features are stored as: "float32", "float16", "bfloat16"; "auto" is float32 if that takes no
            more bytes than a row of images, else float16.
        similarity, patience, earliest, latest, probe_every: of "auto" and rules of your own, as for `seer train`.
        verbose: 0 for silence, 1 to print what the freeze does.

    Raises:
        SettingError: settings that can't be met; when `learn` is called, before the first step.
    """

    def __init__(
        self, freeze_at: int | str, *, freeze_layers: Layers = "auto", latent_dtype: LatentDtype = "auto",
        similarity: float = 0.985, patience: int = 3, earliest: int = 5000, latest: int | None = None,
        probe_every: int = 2500, verbose: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(verbose)
        self._choice = parse_freeze_at(freeze_at, setting="freeze_at")
        if not 0 <= similarity <= 1:
            raise SettingError(f"similarity is {similarity!r}: give a number from 0 to 1")
        for name, number, least in (
            ("patience", patience, 1), ("earliest", earliest, 0), ("probe_every", probe_every, 1),
            ("latest", 1 if latest is None else latest, 1),
        ):  # fmt: skip
            if not _is_int(number) or number < least:
                raise SettingError(f"{name} is {number!r}: give a whole number of at least {least}")
        for name, value, kind in (
            ("freeze_layers", freeze_layers, Layers), ("latent_dtype", latent_dtype, LatentDtype),
        ):  # fmt: skip
            if value not in get_args(kind):
                raise SettingError(f"{name} is {value!r}: use one of {', '.join(get_args(kind))}")
        self.freeze_at, self.freeze_layers, self.latent_dtype = freeze_at, freeze_layers, latent_dtype
        self.probe_every = probe_every
        self._settings = {"threshold": similarity, "patience": patience, "earliest": earliest, "latest": latest}
        self._decision: FreezeDecision | None = None
        self._said = 0.0

    @property
    def _rule(self) -> FreezeRule | None:
        return None if self._decision is None else self._decision.rule

    def _init_callback(self) -> None:
        model, buffer = self._checked()
        buffer.prepare(buffer.frame_stack or find_frame_stack(self.training_env))
        networks = online_networks(model.policy)
        size = self._cut().latent_size(networks[0].features_extractor)
        check_subclass(buffer, features_row(len(networks), size, self.latent_dtype, buffer.row_bytes))
        if frozen_at(model) is not None:
            if not buffer.is_frozen:  # the model, the buffer, or both have been loaded
                self._freeze()
            elif (extractors := frozen_extractors(model.policy)) is not None:
                buffer.attach(extractors)  # whose weights set_parameters may have changed since
        elif buffer.holds_latents:
            raise SettingError(
                "the replay buffer holds features but this model was never frozen: load the one saved with it"
            )
        else:
            self._decision = DECISIONS[model] = self._decide(model)

    def _on_training_start(self) -> None:
        self._freeze_if_due()
        if frozen_at(self.model) is None and self._rule is not None:
            self._say_if_too_short(self._rule)

    def _on_step(self) -> bool:
        if frozen_at(self.model) is None:
            assert self._decision is not None
            self._decision.observe(self.model, self._cut(), self.locals["infos"])  # type: ignore[arg-type]
            self._freeze_if_due()
        return True

    def _on_training_end(self) -> None:
        if frozen_at(self.model) is None and self._rule is not None:
            self._say(f"not frozen by step {self.num_timesteps}: {self._rule.reason}")

    def _say_if_too_short(self, rule: FreezeRule) -> None:
        """Say before the training that it ends before a freeze can come; a later call of `learn` may go on."""
        assert isinstance(self.model, OffPolicyAlgorithm)
        first = rule.due_from
        if first is None:
            first = rule.earliest_step(probe_every=self.probe_every, first_update=self.model.learning_starts + 1)
        last = self.model._total_timesteps
        if first > last:
            self._say(f"no freeze before step {first:,}, and this call of learn ends at step {last:,}")

    def _decide(self, model: OffPolicyAlgorithm) -> FreezeDecision:
        """Return the decision that an earlier call of `learn` has come to so far, or begin anew."""
        if self._choice.rule is not None and not has_monitor(self.training_env):
            raise SettingError(
                f"freeze_at={self.freeze_at!r} needs the scores of games: wrap the environment in Monitor"
            )
        settings, earlier = (self.freeze_at, self.probe_every, self._settings), DECISIONS.get(model)
        if earlier is not None and earlier.settings == settings:
            if model.num_timesteps >= earlier.step:
                return earlier
            self._say("steps are counted anew, also those until the freeze: reset_num_timesteps=False counts on")
        return FreezeDecision(self._make_rule(model), settings, self.probe_every)

    def _make_rule(self, model: OffPolicyAlgorithm) -> FreezeRule:
        """Return the rule that decides the step, or refuse it where it can't."""
        rule = self._choice.make(reason=f"freeze_at is {self.freeze_at}", **self._settings)
        if self._choice.rule is None:
            self._refuse_untrained("freeze_at", self._choice.step or 0, model)
            return rule
        asked = f"freeze_at={self.freeze_at!r}"
        self._refuse_untrained("latest", int(self._settings["latest"] or 0), model)
        needed, rows = num_observations(model.policy, self._cut()), self._buffer.buffer_size * model.n_envs
        if rule.compares_features and rows < needed:
            raise SettingError(
                f"{asked} compares {needed:,} observations, but buffer_size is {rows:,}: give {needed:,}"
            )
        return rule

    def _refuse_untrained(self, name: str, step: int, model: OffPolicyAlgorithm) -> None:
        if 0 < step <= model.learning_starts and model._n_updates == 0:
            raise SettingError(
                f"{name} is {step}, but learning_starts is {model.learning_starts}: "
                "freeze later, or at 0 if the extractor is trained already"
            )

    def _freeze_if_due(self) -> None:
        if frozen_at(self.model) is None and self._rule is not None and self._rule.is_due(self.num_timesteps):
            self._freeze()

    def _freeze(self) -> None:
        """Carry out the freeze, or what is left of it after loading."""
        model, buffer, cut = self.model, self._buffer, self._cut()
        assert isinstance(model, OffPolicyAlgorithm)
        extractors = frozen_extractors(model.policy) or freeze(model.policy, cut)
        why = ""
        if (decision := DECISIONS.pop(model, None)) is not None:
            decision.finish()
            why = f" ({decision.rule.reason})" if self._choice.rule is not None else ""
        step = frozen_at(model)
        if step is None:
            step = model.seer_frozen_at = model.num_timesteps  # type: ignore[attr-defined]  # SB3 saves both
            model.seer_frozen_layers = cut.layers  # type: ignore[attr-defined]
        if buffer.holds_latents:
            buffer.attach(extractors)
            self._say(f"goes on from features: frozen at step {step:,}")
            return
        self._said = time.monotonic()
        result = buffer.freeze(extractors, self.latent_dtype, self._progress)
        self._say(describe_freeze(result, buffer, cut, step, why))
        if result.error is not None and result.error.is_large:
            warnings.warn(
                f"features are stored as {buffer.latent_dtype} with an error of {result.error.relative:.0%} of their "
                "standard deviation, which blurs what tells observations apart: SeerCallback(latent_dtype='float32') "
                "doesn't",
                stacklevel=2,
            )
        figures = {"frozen_at": step, "replay_bytes": buffer.num_bytes, "replay_rows": result.capacity_after}
        if hasattr(model, "_logger"):  # before `learn` there is none
            for name, figure in figures.items():
                self.logger.record(f"seer/{name}", figure)

    def _progress(self, done: int, total: int) -> None:
        if time.monotonic() - self._said > PROGRESS_SECONDS:
            self._said = time.monotonic()
            self._say(f"{done:,} of {total:,} observations encoded")

    def _say(self, line: str) -> None:
        if self.verbose > 0:
            print(f"seer: {line}", flush=True)

    def _cut(self) -> Cut:
        """Return where the model was cut, or will be."""
        layers = getattr(self.model, "seer_frozen_layers", self.freeze_layers)
        extractors = [network.features_extractor for network in online_networks(self.model.policy)]
        return choose_cut(layers, self.model.policy, extractors)

    @property
    def _buffer(self) -> SeerReplayBuffer:
        buffer = self.model.replay_buffer  # type: ignore[attr-defined]
        assert isinstance(buffer, SeerReplayBuffer)
        return buffer

    def _checked(self) -> tuple[OffPolicyAlgorithm, SeerReplayBuffer]:
        """Return the model and its buffer, if SEER can work with them."""
        model, name = self.model, type(self.model).__name__
        if not isinstance(model, OffPolicyAlgorithm):
            raise SettingError(f"{name} has no replay buffer: SeerCallback is for {', '.join(ALGORITHMS)}")
        if not any(base.__name__ in ALGORITHMS for base in type(model).__mro__):
            raise SettingError(f"{name} isn't among the algorithms that SeerCallback knows: {', '.join(ALGORITHMS)}")
        buffer = model.replay_buffer
        if not isinstance(buffer, SeerReplayBuffer):
            if issubclass(model.replay_buffer_class or object, SeerReplayBuffer):
                raise SettingError(
                    f"the loaded replay buffer is a {type(buffer).__name__} of Stable-Baselines3: "
                    "leave load_replay_buffer out, or load one that SeerReplayBuffer has saved"
                )
            raise SettingError(f"SeerCallback needs replay_buffer_class=SeerReplayBuffer, passed to {name}(...)")
        if buffer.n_envs != model.n_envs:
            raise SettingError(
                f"the replay buffer is of {buffer.n_envs} environments, the model of {model.n_envs}: "
                "load it into a model with as many"
            )
        self._take_over_n_steps(model, buffer)
        self._refuse_other_rewards(model, buffer)
        return model, buffer

    def _take_over_n_steps(self, model: OffPolicyAlgorithm, buffer: SeerReplayBuffer) -> None:
        """Give the buffer the `n_steps` of the model, which SB3 passes only to its own."""
        if model.n_steps in (1, buffer.n_steps):
            return
        if buffer.n_steps > 1 or buffer.is_prepared:
            raise SettingError(
                f"n_steps is {model.n_steps} of the model but {buffer.n_steps} of its replay buffer: give both the same"
            )
        buffer.n_steps, buffer.gamma = model.n_steps, model.gamma
        self._say(f"returns are of n_steps={model.n_steps}, though Stable-Baselines3 warned that it ignores that")

    def _refuse_other_rewards(self, model: OffPolicyAlgorithm, buffer: SeerReplayBuffer) -> None:
        """Refuse normalising and discounting that the buffer wouldn't do as SB3's does."""
        normalizer = model._vec_normalize_env
        if normalizer is not None and normalizer.norm_obs:
            raise SettingError(
                "VecNormalize changes how observations are normalised as it goes, so stored features would go stale: "
                "VecNormalize(..., norm_obs=False)"
            )
        if normalizer is not None and normalizer.norm_reward and buffer.n_steps > 1:
            raise SettingError(
                f"n_steps is {buffer.n_steps}: VecNormalize would normalise the sum of so many rewards instead of "
                "each: VecNormalize(..., norm_reward=False) or n_steps=1"
            )
        if buffer.n_steps > 1 and buffer.gamma != model.gamma:
            raise SettingError(
                f"gamma is {model.gamma} of the model but {buffer.gamma} of its n_steps: "
                f"replay_buffer_kwargs={{'n_steps': {buffer.n_steps}, 'gamma': {model.gamma}}}"
            )


def _is_int(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def frozen_at(model: object) -> int | None:
    """Return the step at which a model was frozen, also one that was saved and loaded since."""
    return getattr(model, "seer_frozen_at", None)


def describe_freeze(result: Transcoding, buffer: SeerReplayBuffer, cut: Cut, step: int, why: str) -> str:
    """Return the line that says what the freeze did; `why` follows the step."""
    frozen = f"{'features extractor' if cut.layers == 'all' else 'convolutions'} frozen at step {step:,}{why}"
    before, after = result.row_bytes_before, result.row_bytes_after
    if not result.converted:
        remedy = "policy_kwargs={'features_extractor_kwargs': ...}" if cut.layers == "all" else "freeze_layers='all'"
        return (
            f"{frozen}; features would take more than the {before:,} bytes of a stored row, so the replay keeps its "
            f"images and only gradients are saved; features of {before // 4} in all would fit, or {before // 2} in "
            f"float16 (latent_dtype): {remedy}"
        )
    error = "" if result.error is None else f", error {result.error.relative:.2%} of their standard deviation"
    stored = f"{result.rows:,} rows of {before:,} bytes are now features of {after:,}"
    if not result.rows:
        stored = f"the replay is empty, and its rows will be features of {after:,} bytes, not images of {before:,}"
    return (
        f"{frozen}; {stored} "
        f"({buffer.latent_dtype}{error}); room for {result.capacity_after:,} instead of {result.capacity_before:,} "
        f"in the same {buffer.num_bytes:,} bytes"
    )
