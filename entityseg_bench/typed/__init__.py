"""Scoring of all four annotation types, whatever format each side is in."""
