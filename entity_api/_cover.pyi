from entity_api._rle import Runs

WAYS: tuple[str, ...]

def visible(masks: Runs, way: str | None = None) -> tuple[Runs, int]: ...
