"""Small weights that come with the package, trained on the synthetic demo images.

They show that the models learn, and let every command run without a download. They know nothing of
photographs.
"""

from pathlib import Path

__all__ = ["shipped_weights"]


def shipped_weights(name: str) -> Path:
    """Give the file of weights that were trained for a preset on the demo images.

    Raises:
        ValueError: There is none; the message lists those there are.
    """
    folder = Path(__file__).parent
    path = folder / f"{name}_demo.safetensors"
    if not path.is_file():
        known = sorted(
            p.name.removesuffix("_demo.safetensors") for p in folder.glob("*.safetensors")
        )
        raise ValueError(f"no weights of {name!r} come with the package; of {', '.join(known)} do")
    return path
