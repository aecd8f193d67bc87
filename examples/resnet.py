"""ResNet-18 (He et al. 2016, layers as in torchvision) as an encoder of one's own that learns first and is then frozen.

    cd examples
    seer train --env ALE/Pong-v5 --encoder-factory resnet:atari --freeze-at 50000
    seer train --env dm_control/walker-walk-v0 --agent sac --encoder-factory resnet:control --freeze-at 20000

Its seven layers are those of --freeze-layers: stem, maximum, four sections of two blocks, mean. Pictures of 48 to 128
pixels leave maps of 2 x 2 to 4 x 4 below the mean, so the stem is as published.
"""

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, added to their input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of `outputs` channels, each side divided by the stride."""
        summed: Tensor = self.layers(maps) + self.shortcut(maps)
        return summed.relu()


def resnet18(channels: int, width: int = 64) -> nn.Sequential:
    """Return the network without its classifier: [B, channels, H, W] to [B, 8 * width, 1, 1]; random weights."""
    stem = nn.Sequential(
        nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )
    sections: list[nn.Module] = []
    inputs = width
    for number in range(4):
        outputs, stride = width * 2**number, 1 if number == 0 else 2
        sections.append(nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1)))
        inputs = outputs
    network = nn.Sequential(stem, nn.MaxPool2d(3, stride=2, padding=1), *sections, nn.AdaptiveAvgPool2d(1))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return network


def atari() -> nn.Sequential:
    """Return the encoder for four grey frames, Atari's."""
    return resnet18(4)


def control() -> nn.Sequential:
    """Return the encoder for three RGB frames, DeepMind Control's."""
    return resnet18(9)
