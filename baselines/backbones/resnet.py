"""ResNet with detectron2's parameter names.

Source: He et al., arXiv 1512.03385; the stride stands in the 3 x 3 convolution of a block.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config import ResNetConfig
from baselines.modeling.layers import ConvNorm, FrozenBatchNorm2d

__all__ = ["ResNet"]


class ResNet(nn.Module):
    """Bottleneck ResNet; see :func:`baselines.backbones.build_backbone` for input and output."""

    def __init__(self, config: ResNetConfig):
        super().__init__()
        norm = FrozenBatchNorm2d if config.frozen_norm else nn.BatchNorm2d
        stem = config.stem_channels
        self.stem = nn.ModuleDict(
            {"conv1": ConvNorm(3, stem, 7, norm(stem), stride=2, padding=3, activation=F.relu)}
        )
        self.stages = [f"res{index + 2}" for index in range(len(config.blocks))]
        channels = stem
        for index, name in enumerate(self.stages):
            width, out = config.width * 2**index, config.res2_channels * 2**index
            blocks = []
            for position in range(config.blocks[index]):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(_Bottleneck(channels, width, out, stride, norm))
                channels = out
            self.add_module(name, nn.Sequential(*blocks))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = F.max_pool2d(self.stem["conv1"](images), kernel_size=3, stride=2, padding=1)
        features = {}
        for name in self.stages:
            x = features[name] = getattr(self, name)(x)
        return features


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int, out: int, stride: int, norm: type[nn.Module]):
        super().__init__()
        self.shortcut = None
        if channels != out:
            self.shortcut = ConvNorm(channels, out, 1, norm(out), stride=stride)
        self.conv1 = ConvNorm(channels, width, 1, norm(width), activation=F.relu)
        self.conv2 = ConvNorm(
            width, width, 3, norm(width), stride=stride, padding=1, activation=F.relu
        )
        self.conv3 = ConvNorm(width, out, 1, norm(out))

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.shortcut is None else self.shortcut(x)
        return F.relu(self.conv3(self.conv2(self.conv1(x))) + residual)
