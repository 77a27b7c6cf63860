"""The parser of all commands: argparse's, with a guess at what a mistyped word was meant to be."""

import argparse
import re
from collections.abc import Iterable
from typing import NoReturn

__all__ = ["Parser", "did_you_mean"]

UNKNOWN_OPTION = re.compile(r"unrecognized arguments: .*?(--[\w-]+)")
INVALID_CHOICE = re.compile(r"invalid choice: '?([^\s']+)'? \(choose from (.+)\)")


class Parser(argparse.ArgumentParser):
    """Parse arguments; an error names the option or value that is nearest to a mistyped one."""

    def error(self, message: str) -> NoReturn:
        """Print usage and error, and exit with 2."""
        super().error(message + self._guess(message))

    def _guess(self, message: str) -> str:
        if found := UNKNOWN_OPTION.search(message):
            return did_you_mean(found[1], self._option_string_actions)
        if found := INVALID_CHOICE.search(message):
            return did_you_mean(found[1], re.findall(r"[^\s,']+", found[2]))
        return ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question to put behind an error message, or an empty string.

    Args:
        word: What the user typed.
        known: Words that would have been right.

    Examples:
        >>> did_you_mean("evalute", ["evaluate", "validate"])
        '; did you mean evaluate?'
        >>> did_you_mean("x", ["evaluate", "validate"])
        ''
    """
    import difflib  # is seldom needed

    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
