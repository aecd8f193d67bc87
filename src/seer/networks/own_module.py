"""Modules of one's own, by the name of what makes them, and their weights."""

import importlib
from pathlib import Path

from torch import nn

from seer.errors import SettingError, shortened


def load_module(factory: str, weights: Path | None = None) -> nn.Module:
    """Return the module that `factory`, "package.module:callable", makes, with the weights of a safetensors file.

    Only the factory's own module is imported, by its name; the file holds numbers and nothing that runs.

    Raises:
        SettingError: there is no such factory, it makes no module, or the weights aren't that module's.
    """
    where, _, name = factory.partition(":")
    try:
        make = getattr(importlib.import_module(where), name)
    except Exception as error:  # whatever runs at import
        raise SettingError(
            f"{factory!r} can't be imported ({shortened(error)}); write it as package.module:callable"
        ) from error
    try:
        module = make()
    except Exception as error:
        raise SettingError(
            f"{factory!r} failed ({shortened(error)}); name a callable that needs no arguments and returns a module"
        ) from error
    if not isinstance(module, nn.Module):
        raise SettingError(f"{factory} makes a {type(module).__name__}: it must return a torch.nn.Module")
    if weights is not None:
        load_weights(module, weights)
    return module


def load_weights(module: nn.Module, file: Path) -> None:
    """Give `module` the weights of a safetensors file.

    Raises:
        SettingError: the file can't be read, or its weights aren't the module's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise SettingError(
            f"{file} doesn't fit {type(module).__name__} ({shortened(error)}); give its own weights"
        ) from error
