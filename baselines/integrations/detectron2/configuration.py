"""detectron2's configuration with the original's keys, read without running code."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg
from detectron2.projects.deeplab import add_deeplab_config

from baselines.original import read_yaml
from baselines.original.keys import DEFAULTS

__all__ = ["add_entityseg_config", "read_config"]

# Keys of the original that its files may name and nothing here reads.
_UNREAD = {
    "ENTITY.CROP_STRIDE_RATIO": 0.6,
    "ENTITY.FUSE_DEC_NUM_LAYERS": 3,
    "ENTITY.FUSE_ENC_LAST_LAYERS": 1,
    "INPUT.SIZE_DIVISIBILITY": -1,
    "MODEL.MASK_FORMER.ENC_LAYERS": 0,
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS": 8,
    "MODEL.SWIN.PRETRAIN_IMG_SIZE": 224,
}


def add_entityseg_config(cfg: CfgNode) -> None:
    """Add the keys that the original's configuration files use, with their defaults.

    It takes the place of ``add_deeplab_config`` and the original's ``add_maskformer2_config``; keys
    that are there already keep their values.

    Args:
        cfg: From ``get_cfg()``; changed in place.
    """
    if "ASPP_DROPOUT" not in cfg.MODEL.SEM_SEG_HEAD:
        add_deeplab_config(cfg)
    for key, value in {**DEFAULTS, **_UNREAD}.items():
        *groups, name = key.split(".")
        node = cfg
        for group in groups:
            if group not in node:
                node[group] = CfgNode()
            node = node[group]
        if name not in node:
            node[name] = value


def read_config(path: str | Path, opts: Sequence[Any] = ()) -> CfgNode:
    """Read a configuration file of the original and the files it is based on.

    Unlike ``cfg.merge_from_file``, which runs what a ``!!python`` tag says, it takes files as data:
    see `baselines.original.read_yaml`.

    Args:
        path: YAML.
        opts: Further keys and values in turn, as on detectron2's command lines.

    Returns:
        Not frozen.

    Raises:
        InputError: The file cannot be read as data.
        KeyError: A key that detectron2 and the original do not have.
    """
    cfg = get_cfg()
    add_entityseg_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(read_yaml(path)))
    cfg.merge_from_list(list(opts))
    return cfg
