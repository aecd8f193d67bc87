"""Adam, the clipping of gradients, and loading an optimiser from a checkpoint."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
"""Makes an optimiser of some parameters."""

_step = inspect.unwrap(torch.optim.Adam.step)


class Adam(torch.optim.Adam):
    """Step as PyTorch's Adam, without importing PyTorch's compiler, which costs each process more than a second.

    The decorators of these methods import the compiler at their first call, to keep it from tracing them. Nothing is
    traced here.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step."""
        return _step(self, closure)


def clip_gradients(parameters: Iterable[Tensor], limit: float) -> Tensor:
    """Scale the parameters' gradients down to a joint norm of `limit`, and return the norm that they had.

    `nn.utils.clip_grad_norm_` does the same, but multiplies gradients within the limit by 1. On a GPU that is done here
    too, as it costs less than waiting for the norm.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    scale = limit / (norm + 1e-6)
    if norm.device.type != "cpu" or scale < 1:
        torch._foreach_mul_(gradients, scale.clamp(max=1))
    return norm


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Call `optimizer.load_state_dict`, and lay out every moment in memory like its parameter, as it was when saved.

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
