"""The data set as a Hugging Face dataset, and back."""

from entityseg_bench.huggingface.dataset import from_huggingface, load_dataset, source_digest

__all__ = ["from_huggingface", "load_dataset", "source_digest"]
