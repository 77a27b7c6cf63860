"""Bridges of the reference models to other frameworks; each needs its framework."""

__all__: list[str] = []
