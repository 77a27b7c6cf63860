"""Bridges to other frameworks; each needs its framework and is imported by those who have it."""

__all__: list[str] = []
