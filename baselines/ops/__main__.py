"""Say what runs the operators on this machine."""

from baselines.ops.trial import info

__all__: list[str] = []

if __name__ == "__main__":
    print(info())
