"""Modules of one's own, by the name of what makes them: their weights, and their part of an encoder.

Axes: B batch, S stack, C channels of one frame, H height, W width.
"""

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from torch import nn

from seer.core.module_stage import ModuleStage
from seer.core.sensors import SensorStage
from seer.errors import SettingError, naming, shortened
from seer.networks.convolutions import MapShape
from seer.registry import imported


def load_module(factory: str, weights: Path | None = None) -> nn.Module:
    """Return the module that `factory`, "package.module:callable", makes, with the weights of a safetensors file.

    A list of modules, from the images up, becomes one that runs them in turn. Only the factory's own module is
    imported, by its name; the file holds numbers and nothing that runs.

    Raises:
        SettingError: there is no such factory, it makes no module, or the weights aren't that module's.
    """
    make = imported(factory, remedy="write it as package.module:callable")
    try:
        module = make()
    except Exception as error:
        raise SettingError(
            f"{factory!r} failed ({shortened(error)}); name a callable that needs no arguments and returns a module"
        ) from error
    if isinstance(module, list | tuple) and module and all(isinstance(each, nn.Module) for each in module):
        module = nn.Sequential(*module)
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


def own_stages(module: nn.Module, frame_shape: MapShape, *, stack: int, split: bool = False) -> list[ModuleStage]:
    """Return a module of one's own as the lowest stages of an encoder: [B, S*C, H, W] in [0, 1] to maps.

    One stage or, `split`, one for each layer of an `nn.Sequential`.
    """
    channels, height, width = frame_shape
    shape: tuple[int, ...] = (stack * channels, height, width)
    layers: list[tuple[str | None, nn.Module]] = [(None, module)]
    only_runs_them = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    if split and only_runs_them and module._modules:
        layers = [(name, layer) for name, layer in module._modules.items() if layer is not None]
        _refuse_shared_weights(layers)
    stages = []
    for number, (name, layer) in enumerate(layers, start=1):
        with naming("--encoder-factory"):
            stages.append(ModuleStage(layer, shape, as_maps=number == len(layers), name=name))
        shape = stages[-1].output_shape
    return stages


def module_stages(stages: Iterable[nn.Module]) -> list[ModuleStage]:
    """Return the stages that a module of one's own made; of several cameras, which share it, those of the first."""
    alone = [stage.cameras[0] if isinstance(stage, SensorStage) else stage for stage in stages]
    return [stage for stage in alone if isinstance(stage, ModuleStage)]


def own_module(stages: Iterable[nn.Module]) -> nn.Module | None:
    """Return the module of one's own that an encoder's stages were made of; None where there is none."""
    parts = module_stages(stages)
    if parts and parts[0].name is not None:
        return nn.Sequential(OrderedDict((str(part.name), part.module) for part in parts))
    return parts[0].module if parts else None


def made_here(stages: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the stages without a module of one's own, which keeps the weights that it came with."""
    return [stage for stage in stages if not module_stages([stage])]


def _refuse_shared_weights(layers: Iterable[tuple[str | None, nn.Module]]) -> None:
    owners: dict[int, str | None] = {}
    for name, layer in layers:
        for weight in layer.parameters():
            if owners.setdefault(id(weight), name) != name:
                raise SettingError(
                    f"--freeze-layers: layers {owners[id(weight)]} and {name} of the module of --encoder-factory share "
                    "weights, so that one can't be frozen without the other; leave it out"
                )
