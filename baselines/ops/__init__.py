"""Operators with a schema, registered in the ``entityseg`` namespace of ``torch.library``."""

from baselines.ops.deformable_attention import (
    deformable_attention,
    deformable_attention_definition,
)

__all__ = ["deformable_attention", "deformable_attention_definition"]
