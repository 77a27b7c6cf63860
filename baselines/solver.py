"""Optimizer, learning rate schedule and averaged weights."""

import torch
from torch import nn

from baselines.backbones import HorNet
from baselines.train_config import TrainConfig

__all__ = ["WeightAverage", "lr_factor", "make_optimizer", "parameter_groups"]

# Modules whose parameters have no weight decay.
_UNDECAYED = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._BatchNorm,
    nn.Embedding,
)
_UNDECAYED_NAMES = ("relative_position_bias_table",)
# The original recognises norms and embeddings by their class. HorNet's norm has another class
# there, and its layer scales and the pixel decoder's level embedding are plain parameters. So these
# have weight decay in the published models (golden: optim/*.json).
_FORGOTTEN_NAMES = ("gamma1", "gamma2", "level_embed")


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict]:
    """Sort a model's trainable parameters by learning rate and weight decay.

    Returns:
        Groups as optimizers take them, with "params", "lr", "weight_decay", and "names" of the
        parameters; at most four.
    """
    has_hornet = isinstance(getattr(model, "backbone", None), HorNet)
    groups: dict[tuple[float, float], dict] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            full = f"{path}.{name}" if path else name
            in_backbone = full.startswith("backbone.")
            factor = config.backbone_lr_factor if in_backbone else 1.0
            decays = _decays(module, name, in_backbone and has_hornet, config)
            decay = config.weight_decay if decays else 0.0
            key = (config.lr * factor, decay)
            group = groups.setdefault(
                key, {"params": [], "names": [], "lr": key[0], "weight_decay": decay}
            )
            group["params"].append(parameter)
            group["names"].append(full)
    return list(groups.values())


def _decays(module: nn.Module, name: str, in_hornet: bool, config: TrainConfig) -> bool:
    if name in _FORGOTTEN_NAMES or (in_hornet and isinstance(module, nn.LayerNorm)):
        return config.published_decay
    return not (isinstance(module, _UNDECAYED) or name in _UNDECAYED_NAMES)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Make AdamW over :func:`parameter_groups`."""
    groups = parameter_groups(model, config)
    return torch.optim.AdamW(
        [{k: v for k, v in group.items() if k != "names"} for group in groups], lr=config.lr
    )


def lr_factor(step: int, config: TrainConfig) -> float:
    """Return the factor of the learning rates at a step, counted from 0.

    It is (1 - step / steps) ** power (golden: optim/*.json). During a warm-up of W steps it is also
    multiplied by (step + 1) / W.
    """
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    return warmup * (1 - step / config.steps) ** config.power


class WeightAverage:
    """Keep an exponential moving average of a model's state.

    Args:
        model: The model to average. It is read and never changed.
        decay: Weight of the average against the newest state. After n updates it is at most
            (1 + n) / (10 + n), so that the initial weights soon lose their influence.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Add the model's present state to the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)
