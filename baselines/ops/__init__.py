"""Operators with a schema, registered in the ``entityseg`` namespace of ``torch.library``.

``python -m baselines.ops`` says what runs them on this machine.
"""

from baselines.ops.deformable_attention import (
    deformable_attention,
    deformable_attention_definition,
)
from baselines.ops.fused import (
    deformable_attention_from_offsets,
    deformable_attention_from_offsets_definition,
)
from baselines.ops.trial import info

__all__ = [
    "deformable_attention",
    "deformable_attention_definition",
    "deformable_attention_from_offsets",
    "deformable_attention_from_offsets_definition",
    "info",
]
