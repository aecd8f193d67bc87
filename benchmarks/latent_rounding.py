"""What storing latents in fewer bytes does to a trained agent: its Q-values, and the actions they choose.

    python benchmarks/latent_rounding.py RUN...          # folders of frozen runs of Rainbow or DQN

Each run's last agent plays, exploring as in training. The range of int8 is fitted to the first half of what it saw, as
the freeze fits it to what the replay holds; everything is measured on the second half. Prints a line of JSON per run:

    latent_error    root mean square of the rounding, as a share of the latents' standard deviation
    value_error     root mean square of what it adds to the greedy action's Q-value
    value_spread    standard deviation of that Q-value over observations, to compare with
    actions_changed share of observations in which another action becomes the greedy one
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seer.agents.agent import Agent
from seer.core.rows import LATENT_DTYPES
from seer.replay.codec import Codec, Int8Codec
from seer.runs.folder import RunFolder
from seer.training.drift_monitor import encode_views
from seer.training.load_run import load_player
from seer.training.observations import play


def codec_of(dtype: torch.dtype, seen: Tensor) -> Codec:
    """How latents are stored as `dtype`, once those `seen` [B, N, L] were in the replay."""
    return Int8Codec.fitted([seen[:, None]]) if dtype == torch.int8 else Codec(torch.float32, dtype)


@torch.no_grad()
def measure(agent: Agent[Any], latents: Tensor, codec: Codec) -> dict[str, float]:
    """The figures above, of latents [B, N, L] float32 against what is read of them."""
    read = codec.decode(codec.encode(latents))
    (actions, values), (others, rounded) = (agent.judge(each, agent.online) for each in (latents, read))
    spread = (latents - latents.mean(0)).square().sum()
    return {
        "latent_error": float(((read - latents).square().sum() / spread).sqrt()),
        "value_error": float((rounded - values).square().mean().sqrt()),
        "value_spread": float(values.std()),
        "actions_changed": float((actions != others).float().mean()),
    }


def main() -> None:
    """Measure the runs that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--observations", type=int, default=1000, help="one in five of those that the agent meets")
    options = parser.parse_args()
    for run in options.runs:
        agent, environment = load_player(RunFolder.open(run))
        seen = torch.from_numpy(play(agent, environment, count=options.observations, every=5))
        latents = encode_views(agent, agent.online.encoder, seen)
        first, second = latents.tensor_split(2)
        rows = {
            name: measure(agent, second, codec_of(dtype, first))
            for name, dtype in LATENT_DTYPES.items() if dtype != torch.float32
        }  # fmt: skip
        print(json.dumps({"run": run.name, **rows}))


if __name__ == "__main__":
    main()
