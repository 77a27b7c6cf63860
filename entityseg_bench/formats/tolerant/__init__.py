"""JSON of other tools, typed loosely or wrapped, brought to the records of COCO."""
