"""Settings that agents read, as groups of `Config`: what each means, its unit, its source.

Sources: SEER (Chen et al. 2021), DER (data-efficient Rainbow, van Hasselt et al. 2019), Rainbow (Hessel et al. 2018),
DQN (Mnih et al. 2015).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from seer.fields import Bounds, Count, Fraction, OptionalCount, Positive


@dataclass(frozen=True)
class OwnSettings:
    """Settings that one agent alone has, each a flag of `seer train`; this one has none."""


@dataclass(frozen=True)
class LearningConfig:
    """Learning."""

    encoder: Literal["data-efficient", "canonical", "sac-ae", "impala"] = "data-efficient"
    """Convolutional encoder (DER, appendix E; DQN's for canonical)."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the layers; parameters and losses stay float32 (of stored latents see --latent-dtype). auto:
    bfloat16 for SAC and CURL where the processor has instructions for it, else float32; decided when the run starts."""

    convolution: Literal["auto", "direct", "patches"] = "auto"
    """How convolutions whose kernels are as large as their strides are computed: direct, or as matrix products on
    patches of pixels. auto: patches on a CPU without AVX-512, where they are faster; decided when the run starts."""

    batch_size: Annotated[int, Bounds(above=0, at_most=65_536)] = 32
    """Samples per update (DER, table 1)."""

    hidden_units: Annotated[int, Bounds(above=0, at_most=65_536)] = 256
    """Units of each hidden layer (DER, table 1)."""

    discount: Fraction = 0.99
    """Discount per step (Rainbow, table 1)."""

    learning_rate: Positive = 1e-4
    """Adam's learning rate (DER; SEER's own scripts use it too, its table prints 1e-3)."""

    learning_rate_final_share: Fraction = 1.0
    """Share of every learning rate, the temperature's too, that is left at the end: they fall linearly from the first
    step to --planned-steps. 1: constant (SEER, Rainbow, SAC, CURL, DrQ-v2)."""

    adam_epsilon: Positive = 1.5e-4
    """Adam's epsilon (Rainbow, table 1)."""

    max_gradient_norm: Positive = 10.0
    """Rainbow, DQN: gradients are scaled down to this norm (DER)."""

    first_update: Annotated[int, Bounds(at_least=0)] = 1600
    """Step of the first update (DER, table 1)."""

    updates_per_step: Annotated[int, Bounds(above=0, at_most=1000)] = 1
    """Updates per step (DER)."""

    update_every: Annotated[int, Bounds(above=0, at_most=1000)] = 1
    """Steps between updates: they come at multiples of it, --updates-per-step at a time."""

    target_every: Count = 2000
    """Updates between copies of the online network to the target (DER, table 1)."""

    reset_heads_every: OptionalCount = None
    """Steps between resets of all above the encoder and SAC's temperature to random weights (Nikishin et al. 2022)."""


def known_learning(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of learning in a `config.json`, without `reset_encoder`, an earlier version's, where off."""
    return {name: value for name, value in {**record}.items() if (name, value) != ("reset_encoder", False)}


@dataclass(frozen=True)
class ValueConfig:
    """Parts of Rainbow; --agent dqn turns them off."""

    double: bool = True
    """Choose the next action with the online network."""

    dueling: bool = True
    """Separate streams for value and advantage."""

    noisy: bool = True
    """Noisy layers instead of epsilon-greedy exploration."""

    distributional: bool = True
    """C51: learn the distribution of returns instead of its mean."""

    noisy_sigma: Annotated[float, Bounds(at_least=0, at_most=10**6)] = 0.1
    """Initial noise of noisy layers (DER, table 1)."""

    num_atoms: Annotated[int, Bounds(at_least=2, at_most=10_001)] = 51
    """Atoms of the return distribution (Rainbow, table 1)."""

    min_return: Annotated[float, Bounds(at_least=-(10**12))] = -10.0
    """Lowest atom (Rainbow, table 1)."""

    max_return: Annotated[float, Bounds(at_least=-(10**12))] = 10.0
    """Highest atom (Rainbow, table 1)."""

    epsilon_end: Fraction = 0.05
    """Last epsilon of epsilon-greedy exploration, where layers are not noisy."""

    epsilon_steps: Count = 10_000
    """Steps over which epsilon falls from 1."""


@dataclass(frozen=True)
class SacConfig:
    """SAC and CURL; DrQ-v2 reads --random-steps, --latent-size and --critic-tau."""

    latent_size: Annotated[int, Bounds(above=0, at_most=65_536)] = 50
    """Size of the critic's and of the actor's features (SEER, DMControl settings)."""

    random_steps: Annotated[int, Bounds(at_least=0)] = 1000
    """Uniformly random actions at first (SEER, DMControl settings)."""

    initial_temperature: Positive = 0.1
    """Weight of the entropy at first (SEER, DMControl settings)."""

    temperature_learning_rate: Positive = 1e-4
    """Adam's learning rate for the temperature, with betas (0.5, 0.999) (SEER, DMControl settings)."""

    critic_tau: Fraction = 0.01
    """Share of the online critic in each move of the target (SEER, DMControl settings)."""

    encoder_tau: Fraction = 0.05
    """Share of the online encoder in each move of the target (SEER, DMControl settings)."""

    actor_every: Count = 2
    """Updates between updates of actor and temperature (SEER, DMControl settings)."""

    contrastive_steps: Annotated[int, Bounds(at_least=1, at_most=2)] = 2
    """CURL: Adam steps of the encoder on each contrastive gradient, 1 or 2. 2 as in the published code, whose two
    optimisers both step on it; 1 leaves out the one that also steps on the critic's gradient."""
