"""Rainbow, DQN, SAC and CURL, made from settings."""

from typing import Any

from seer.agents.agent import EncodedNetwork
from seer.agents.curl import Curl
from seer.agents.inputs import AgentInputs, adam
from seer.agents.losses import CategoricalValue, ScalarValue
from seer.agents.rainbow import Epsilon, Rainbow
from seer.agents.sac import Sac
from seer.networks.actor_critic import Actor, Bilinear, TwinCritic, initialize
from seer.networks.augment import center_crop, random_crop
from seer.networks.heads import ValueHead
from seer.networks.own_module import made_here


def make_rainbow(inputs: AgentInputs, kind: type[Rainbow] = Rainbow) -> Rainbow:
    """Make Rainbow or, with parts of it switched off, DQN; or a `kind` derived from Rainbow."""
    learning, value, generators = inputs.learning, inputs.value, inputs.generators()
    encoder = inputs.make_encoder()
    head = ValueHead(
        feature_size=encoder.output_size,
        num_actions=inputs.num_actions,
        num_atoms=value.num_atoms if value.distributional else 1,
        hidden_units=learning.hidden_units,
        dueling=value.dueling,
        noisy_sigma=value.noisy_sigma if value.noisy else None,
        precision=inputs.precision,
    )
    categorical = CategoricalValue(num_atoms=value.num_atoms, minimum=value.min_return, maximum=value.max_return)
    return kind(
        EncodedNetwork(encoder, head).to(inputs.device),
        categorical.to(inputs.device) if value.distributional else ScalarValue(),
        double=value.double,
        batch_size=learning.batch_size,
        target_every=learning.target_every,
        make_optimizer=adam(learning.learning_rate, eps=learning.adam_epsilon),
        max_gradient_norm=learning.max_gradient_norm,
        epsilon=Epsilon(0, 0, 1) if value.noisy else Epsilon(1, value.epsilon_end, value.epsilon_steps),
        generator=generators.policy,
        rng=generators.actions,
    )


def make_sac(inputs: AgentInputs) -> Sac:
    """Make SAC."""
    return Sac(**_parts(inputs))


def make_curl(inputs: AgentInputs) -> Curl:
    """Make CURL."""
    parts = _parts(inputs)
    similarity = Bilinear(inputs.sac.latent_size).to(inputs.device)
    return Curl(**parts, similarity=similarity)


def _parts(inputs: AgentInputs) -> dict[str, Any]:
    """Return the parts of SAC, by keyword of its constructor."""
    learning, sac, generators = inputs.learning, inputs.sac, inputs.generators()
    encoder = inputs.make_encoder(
        projections=2,
        view=inputs.crops(center_crop),
        augment=inputs.crops(random_crop, generator=generators.crops),
        num_crops=inputs.num_crops,
    )
    sizes = inputs.control_sizes(encoder)
    network, actor = EncodedNetwork(encoder, TwinCritic(**sizes)), Actor(**sizes)
    for part in (*made_here(encoder.stages), network.head, actor):
        part.apply(initialize)
    return {
        "network": network.to(inputs.device),
        "actor": actor.to(inputs.device),
        "settings": sac,
        "batch_size": learning.batch_size,
        "target_every": learning.target_every,
        "make_optimizer": adam(learning.learning_rate, eps=learning.adam_epsilon),
        "make_temperature_optimizer": adam(sac.temperature_learning_rate, betas=(0.5, 0.999)),
        "generators": generators,
    }
