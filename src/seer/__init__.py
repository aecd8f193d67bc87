"""Reinforcement learning from pixels that stores embeddings instead of images.

The method is SEER: Chen, Lee, Srinivas, Abbeel, "Improving Computational Efficiency in Visual Reinforcement
Learning via Stored Embeddings", NeurIPS 2021 (arXiv 2103.02886). Early in training the lower layers of the
encoder are frozen; from then on the replay holds their outputs, which are cheaper to train on and smaller.

For a training loop of your own: `make_replay`, `FreezableEncoder`, and `FlopsLedger` with `cost_of` and
`count_multiply_adds`; `VectorSteps` stores the steps of environments side by side; `FreezeWhenSettled` says when to
freeze, from scores and from what `FeatureStability` finds; a `FreezeRule` of your own can decide instead.
`examples/dqn.py` is a whole DQN made of them.

`load` gives the agent of a run, to act and encode in Python.

Importing this package loads nothing else; a name loads its module when it is first used.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers take it for True, and `typing` needn't be imported
if TYPE_CHECKING:  # "as" exports a name
    from seer.core.encoder import FreezableEncoder as FreezableEncoder
    from seer.core.feature_stability import FeatureStability as FeatureStability
    from seer.core.flops import Cost as Cost
    from seer.core.flops import FlopsLedger as FlopsLedger
    from seer.core.flops import Part as Part
    from seer.core.flops import Passes as Passes
    from seer.core.flops import cost_of as cost_of
    from seer.core.flops import count_multiply_adds as count_multiply_adds
    from seer.core.freeze_rules import FreezeAt as FreezeAt
    from seer.core.freeze_rules import FreezeRule as FreezeRule
    from seer.core.freeze_rules import StepMetrics as StepMetrics
    from seer.core.freeze_when_settled import FreezeWhenSettled as FreezeWhenSettled
    from seer.core.frozen_encoder import FrozenEncoder as FrozenEncoder
    from seer.core.packing import Packing as Packing
    from seer.core.phase import Phase as Phase
    from seer.core.similarity import Covariances as Covariances
    from seer.core.similarity import linear_cka as linear_cka
    from seer.errors import SettingError as SettingError
    from seer.networks.own_module import load_module as load_module
    from seer.networks.sensors import sensor_encoder as sensor_encoder
    from seer.replay import Batch as Batch
    from seer.replay import FileBlock as FileBlock
    from seer.replay import LatentError as LatentError
    from seer.replay import MemoryBlock as MemoryBlock
    from seer.replay import MultiEnvReplay as MultiEnvReplay
    from seer.replay import Prioritized as Prioritized
    from seer.replay import Replay as Replay
    from seer.replay import RowFormat as RowFormat
    from seer.replay import Transcoding as Transcoding
    from seer.replay import Uniform as Uniform
    from seer.replay.make import make_replay as make_replay
    from seer.replay.vector_steps import VectorSteps as VectorSteps
    from seer.trained.agent import TrainedAgent as TrainedAgent
    from seer.trained.load import load as load

_HOMES = {
    "core.encoder": "FreezableEncoder",
    "core.flops": "Cost FlopsLedger Part Passes cost_of count_multiply_adds",
    "core.feature_stability": "FeatureStability",
    "core.freeze_rules": "FreezeAt FreezeRule StepMetrics",
    "core.freeze_when_settled": "FreezeWhenSettled",
    "core.frozen_encoder": "FrozenEncoder",
    "core.packing": "Packing",
    "core.phase": "Phase",
    "core.similarity": "Covariances linear_cka",
    "errors": "SettingError",
    "networks.own_module": "load_module",
    "networks.sensors": "sensor_encoder",
    "replay": "Batch FileBlock LatentError MemoryBlock MultiEnvReplay Prioritized Replay RowFormat Transcoding Uniform",
    "replay.make": "make_replay",
    "replay.vector_steps": "VectorSteps",
    "trained.agent": "TrainedAgent",
    "trained.load": "load",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = ["__version__"]
__all__ += list(_HOME_OF)


def __getattr__(name: str) -> object:
    """Load what is asked for (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'seer' has no attribute {name!r}")
    import importlib

    found = globals()[name] = getattr(importlib.import_module(f"seer.{_HOME_OF[name]}"), name)
    return found


def __dir__() -> list[str]:
    return __all__
