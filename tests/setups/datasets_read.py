"""What files hold, as data sets: the readers of formats give tables, tests look at data sets."""

from pathlib import Path

from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats import ade20k, cityscapes, coco, id_maps, npz, panoptic, semantic
from entityseg_bench.formats import parquet as parquet_format
from entityseg_bench.layout import ImageFiles

ABOUT = ("split", "resolution", "image_files")


def reads(reader):
    """Return a function that reads with a reader and makes a data set of it."""

    def read(path, *args, **options):
        about = {name: options.pop(name) for name in ABOUT if name in options}
        folder = Path(path) if Path(path).is_dir() else Path(path).parent
        about.setdefault("image_files", ImageFiles(folder))
        options.pop("cache", None)
        return EntityDataset.of(reader(path, *args, **options), **about)

    return read


read_coco = reads(coco.read_coco)
read_results = reads(coco.read_results)
read_panoptic = reads(panoptic.read_panoptic)
read_semantic = reads(semantic.read_semantic)
read_id_png = reads(id_maps.read_id_png)
read_npz = reads(npz.read_npz)
read_ade20k = reads(ade20k.read_ade20k)
read_cityscapes = reads(cityscapes.read_cityscapes)


def read_parquet(folder, task, split, **about):
    """Read one task and split of an export."""
    found = parquet_format.read_parquet(folder, task, split)
    about = {"split": found.split, "resolution": found.resolution, **about}
    return EntityDataset.of(found.segments, **about)
