"""Optimisers coming back from a checkpoint."""

from typing import Any

import torch
from torch.optim import Optimizer


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """`optimizer.load_state_dict`, with every moment laid out in memory like its parameter, as it was when saved.

    A saved tensor comes back in plain order, but fused Adam goes through parameter and moments by their addresses: in
    channels-last weights it would give each weight the moments of another.
    """
    optimizer.load_state_dict(state)
    for parameter, moments in optimizer.state.items():
        for name, moment in moments.items():
            if moment.shape not in (parameter.shape, ()):
                raise ValueError(f"a moment of Adam is {list(moment.shape)}, its parameter {list(parameter.shape)}")
            if moment.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(moment)
