"""Completion of the command ``entityseg`` in bash, zsh and fish."""

import argparse
import importlib
from collections.abc import Mapping
from typing import NamedTuple

from entityseg_bench.parser import Parser

__all__ = ["SHELLS", "Words", "completion", "words_of"]

SHELLS = ("bash", "zsh", "fish")


class Words(NamedTuple):
    """Hold the words that may follow a verb.

    Attributes:
        options: Option -> the values it takes; empty where any will do, such as a file.
        first: Words of the first position: the verbs of a verb.
    """

    options: dict[str, list[str]]
    first: list[str]


def words_of(verb: str) -> Words:
    """Return the words that may follow a verb; none where what it needs is not installed."""
    module = importlib.import_module(f"entityseg_bench.commands.{verb.replace('-', '_')}")
    if hasattr(module, "parser"):
        try:
            parser = module.parser()
        except ModuleNotFoundError:
            return Words({}, [])
    else:
        parser = Parser(add_help=False)
        module.add_arguments(parser)
    return gathered(parser)


def gathered(parser: argparse.ArgumentParser) -> Words:
    """Gather options and verbs of a parser, and the options of its verbs."""
    options: dict[str, list[str]] = {}
    first: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            first += action.choices
            for inner in action.choices.values():
                options |= gathered(inner).options
            continue
        for option in action.option_strings:
            if option.startswith("--"):
                options[option] = [str(choice) for choice in action.choices or ()]
    return Words(options, first)


def completion(shell: str, verbs: Mapping[str, str]) -> str:
    """Return the script that a shell reads.

    Args:
        shell: One of `SHELLS`.
        verbs: Each verb with its line of help.
    """
    words = {verb: words_of(verb) for verb in verbs}
    if shell == "fish":
        return fish(verbs, words)
    script = bash(words)
    if shell == "zsh":
        # zsh runs the functions of bash, once it is told to.
        return "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && " + (
            f"bashcompinit\n{script}"
        )
    return script


def bash(words: Mapping[str, Words]) -> str:
    """Write the function that bash calls at each Tab."""
    values, options = [], []
    for verb, own in words.items():
        options.append(f'    {verb}) words="{" ".join([*own.options, *own.first])}" ;;')
        values += [
            f'    "{verb} {option}") words="{" ".join(choices)}" ;;'
            for option, choices in own.options.items()
            if choices
        ]
    return "\n".join(
        [
            "_entityseg() {",
            '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
            '  local verb="${COMP_WORDS[1]}" words=""',
            '  if [ "$COMP_CWORD" -eq 1 ]; then',
            f'    COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$word"))',
            "    return",
            "  fi",
            '  case "$verb $before" in',
            *values,
            '  *) case "$verb" in',
            *options,
            "    esac",
            # File names are completed unless an option is begun.
            '    [[ "$word" == -* || "$COMP_CWORD" -eq 2 ]] || words="" ;;',
            "  esac",
            '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
            "}",
            "complete -o default -F _entityseg entityseg\n",
        ]
    )


def fish(verbs: Mapping[str, str], words: Mapping[str, Words]) -> str:
    """Write a line for each verb and option, as fish wants them."""
    lines = []
    for verb, text in verbs.items():
        quoted = text.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"complete -c entityseg -n __fish_use_subcommand -f -a {verb} -d '{quoted}'")
        seen = f"complete -c entityseg -n '__fish_seen_subcommand_from {verb}'"
        lines += [f"{seen} -f -a {word}" for word in words[verb].first]
        for option, choices in words[verb].options.items():
            values = f" -x -a '{' '.join(choices)}'" if choices else ""
            lines.append(f"{seen} -l {option.removeprefix('--')}{values}")
    return "\n".join(lines) + "\n"
