"""COCO JSON: annotations and results, whole, by columns, or by the images of a part."""

from entityseg_bench.formats.coco.files import (
    annotation_row,
    category_row,
    image_row,
    open_dt,
    open_gt,
    open_results,
    read_coco,
    read_results,
    table_of_content,
    truth_of_content,
    write_coco,
    write_results,
)

__all__ = [
    "annotation_row",
    "category_row",
    "image_row",
    "open_dt",
    "open_gt",
    "open_results",
    "read_coco",
    "read_results",
    "table_of_content",
    "truth_of_content",
    "write_coco",
    "write_results",
]
