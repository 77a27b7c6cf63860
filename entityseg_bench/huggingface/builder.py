"""The `datasets` builder; it is imported only where that library is wanted."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import datasets

from entityseg_bench import __version__
from entityseg_bench.categories import TASKS
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.rows import features, to_row
from entityseg_bench.names import outside_allowed

__all__ = ["EntitySeg", "EntitySegConfig"]


VERSION = datasets.Version(__version__)


@dataclasses.dataclass
class EntitySegConfig(datasets.BuilderConfig):
    """Choose what is loaded; every field is part of the key of the Hugging Face cache.

    Attributes:
        split: train or val.
        resolution: high or low.
        parts: Parts joined by commas; empty for all that are there.
        images: Whether rows point at image files.
        allow_outside: Whether files may name images and maps outside of their folder.
        digest: Of the source files (`huggingface.source_digest`), so that a change is noticed.
    """

    split: str = "val"
    resolution: str = "high"
    parts: str = ""
    images: bool = True
    allow_outside: bool = False
    digest: str = ""


class EntitySeg(datasets.GeneratorBasedBuilder):
    """Build entity, instance, semantic or panoptic from a folder (``data_dir``)."""

    BUILDER_CONFIG_CLASS = EntitySegConfig
    BUILDER_CONFIGS = [EntitySegConfig(name=task, version=VERSION) for task in TASKS]  # noqa: RUF012
    DEFAULT_CONFIG_NAME = "entity"

    def open(self) -> EntityDataset:
        """Open the folder."""
        config: Any = self.config
        if not hasattr(self, "_dataset"):
            with outside_allowed(config.allow_outside):
                self._dataset = EntityDataset.open(
                    config.data_dir,
                    config.name,
                    config.split,
                    config.resolution,
                    config.parts.split(",") if config.parts else None,
                )
        return self._dataset

    def _info(self) -> datasets.DatasetInfo:
        config: Any = self.config
        return datasets.DatasetInfo(features=features(self.open(), config.images))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        config: Any = self.config
        return [datasets.SplitGenerator(name=config.split)]

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        config: Any = self.config
        dataset = self.open()
        for idx, image in enumerate(dataset.images):
            row = to_row(dataset, idx)
            if config.images:
                row["image"] = str(dataset.image_path(image))
            yield idx, row
