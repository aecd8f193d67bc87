"""The least time a row could take on this machine.

floor = 2 * multiply-adds / rate + bytes / bandwidth: added up, though the two may overlap a little; each at the best
that was measured of its sort, whatever the dtype or the size, in the same rounds as the row.

What is counted:

- multiply-adds: those of the agent's `Cost`, the ledger behind `seer flops`: convolutions at the convolutions' rate or,
  where that is higher, the matrix products', everything else at the latter. The ledger counts each backward pass as two
  forward passes, also where no gradient of the input is wanted (of the pixels; of stored latents). Against what PyTorch
  counts in a real update that is 10% too much for Rainbow (12% after the freeze) and 3% for CURL (1%). Where Rainbow's
  convolutions are products on patches, it counts outputs too that nothing reads and that aren't computed: 20% too much.
- bytes of an update: the batch read from the replay and written once; of every learned number, in float32, 4 reads
  (itself, its gradient, Adam's two moments) and 3 writes. Activations aren't counted: they may stay in a cache.
- bytes of acting and encoding: every weight that takes part, read once.
- bytes of sampling: every sample's two observations read and written; a frame of both stacks is read once. Of the
  conversion: each frame read, each latent row written.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from seer.agents.agent import Agent
from seer.bench.ceilings import CONVOLUTION, COPY, PRODUCT, Ceiling, best
from seer.core.flops import Cost
from seer.core.phase import Phase

FLOAT = 4  # bytes
ADAM_PASSES = 7  # reads and writes of every learned number


@dataclass(frozen=True)
class Work:
    """What a row can't do without: multiply-adds in convolutions and elsewhere, bytes read and written."""

    convolved: float = 0.0
    multiplied: float = 0.0
    moved: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.convolved + other.convolved,
            self.multiplied + other.multiplied,
            self.moved + other.moved,
        )

    def floor_milliseconds(self, ceilings: Mapping[str, Ceiling]) -> float:
        """At the best measured rates; a convolution may be computed as a product."""
        products = best(ceilings, PRODUCT)
        seconds = (
            2 * self.convolved / max(best(ceilings, CONVOLUTION), products)
            + 2 * self.multiplied / products
            + self.moved / best(ceilings, COPY)
        )
        return 1e3 * seconds


@dataclass(frozen=True)
class Counter:
    """Counts the work of one agent's rows.

    Attributes:
        cost: the agent's ledger.
        convolved: multiply-adds of the encoder's convolutions, of one pass on one observation.
        learned: numbers that an update changes, by phase.
        acting, encoding: numbers that choosing an action, and encoding, read.
        sampled_bytes: of one sample of a batch, read and written, by phase.
    """

    cost: Cost
    convolved: int
    learned: Mapping[Phase, int]
    acting: int
    encoding: int
    sampled_bytes: Mapping[Phase, int]

    def update(self, phase: Phase) -> Work:
        """Sampling a batch and one gradient step on it."""
        passes = self.cost.encoder.passes[phase]
        convolved = self.cost.batch_size * self.convolved * (passes.forwards + 2 * passes.backwards)
        learned = ADAM_PASSES * FLOAT * self.learned[phase]
        return Work(convolved, self.cost.update(phase) - convolved, moved=learned) + self.sample(phase)

    def sample(self, phase: Phase) -> Work:
        """A batch of observations and their next ones."""
        return Work(moved=self.cost.batch_size * self.sampled_bytes[phase])

    def act(self, phase: Phase) -> Work:
        """Choosing an action; where latents are stored, encoding K crops too unless the one view is all there is."""
        chosen = Work(self.convolved, self.cost.act - self.convolved, moved=FLOAT * self.acting)
        stores_crops = phase is Phase.LATENTS and self.cost.crops > 1
        return chosen + self._views(self.cost.crops) if stores_crops else chosen

    def encode(self) -> Work:
        """The K crops of one observation; one pass gives all N latents of a crop."""
        return self._views(self.cost.crops) + Work(moved=FLOAT * self.encoding)

    def transcode(self, *, frame_bytes: int, latent_bytes: int) -> Work:
        """One stored row; the weights are read once for many rows."""
        return self._views(self.cost.crops) + Work(moved=frame_bytes + latent_bytes)

    def _views(self, count: int) -> Work:
        projected = self.cost.encoder.multiply_adds - self.convolved
        return Work(count * self.convolved, count * projected)


def learned_numbers(agent: Agent[nn.Module]) -> int:
    """Numbers that the agent's optimisers change."""
    groups = (group for optimizer in agent.optimizers.values() for group in optimizer.param_groups)
    return sum(parameter.numel() for group in groups for parameter in group["params"])


def numbers(*modules: nn.Module) -> int:
    """Numbers in the modules' parameters."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
