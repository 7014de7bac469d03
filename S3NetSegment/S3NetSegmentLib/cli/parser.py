"""``Parser``: how options are told from names and coordinates that begin with a minus. Standard library only."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from typing import NoReturn

# What follows these as coordinates with a comma is a further value; any other further value would swallow the image's name.
_SEVERAL = ("--point", "--not-point", "--pixel", "--not-pixel", "--box", "--box-mm")
_COORDINATES = re.compile(r"[-+]?[\d.][-+\d.,eE:]*")


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a bad argument with one line and exit code 2, and takes no abbreviations, which
    would change their meaning when options are added.

    argparse takes whatever begins with a minus for an option. Here the point ``-1,2,3``, the file ``-a.nii.gz`` and the case ``-x`` are
    what they look like as long as no option is called so, options and names may stand in any order, and all behind ``--`` are names.
    """

    def __init__(self, *args, **options):
        super().__init__(*args, allow_abbrev=False, **options)
        self._doubtful = ""  # an option that may have been meant as a name

    def parse_known_args(self, args=None, namespace=None):
        texts = [_of_home(text) for text in (sys.argv[1:] if args is None else args)]
        return super().parse_known_args(texts if self._subparsers else self._told_apart(texts), namespace)

    def error(self, message: str) -> NoReturn:
        if self._doubtful:
            message += (
                f"; {self._doubtful} was read as an option: write ./{self._doubtful} for a file, other names behind --"
            )
        self.exit(2, f"s3net: error: {message} ('{self.prog} --help' explains)\n")

    def _told_apart(self, texts: list[str]) -> list[str]:
        """``texts`` so that argparse cannot mistake them: options joined with their values, then ``--`` and the names."""
        options, names, several, rest = [], [], "", iter(texts)
        for text in rest:
            if several and "," in text and _COORDINATES.fullmatch(text):
                options.append(f"{several}={text}")
                continue
            several = text if text in _SEVERAL else ""
            if text == "--":
                names += rest
            elif not self._is_option(text):
                names.append(text)
            else:
                options += self._with_value(text, rest)
        # With a name too few, a short option may have been one.
        missing = sum(not action.option_strings for action in self._actions) > len(names)
        self._doubtful = next((o for o in options if missing and o[1] != "-" and o[2:3] != "="), "")
        return [*options, *(["--", *names] if names else [])]

    def _with_value(self, option: str, rest: Iterator[str]) -> list[str]:
        action = self._option_string_actions.get(option)
        if action is None or action.nargs == 0:  # has its value in it, is unknown, or needs none
            return [option]
        value = next(rest, None)
        if value is None:
            return [option]
        is_option = value.startswith("--") or value in self._option_string_actions
        return [option, value] if is_option else [f"{option}={value}"]

    def _is_option(self, text: str) -> bool:
        """Whether ``text`` is an option of this command, or looks like one with two dashes."""
        if text.startswith("--") or text in self._option_string_actions:
            return text != "--"
        action = self._option_string_actions.get(text[:2])
        if action is None or not text.startswith("-"):
            return False
        return action.nargs != 0 or all(f"-{letter}" in self._option_string_actions for letter in text[1:])


def _of_home(text: str) -> str:
    """``text`` with the user's folder for a ``~/`` in it that no shell has replaced: of a value behind ``=``, or in quotes."""
    option, is_value, value = text.partition("=") if text.startswith("--") else ("", "", text)
    if not value.startswith("~/") or os.path.lexists("~"):
        return text
    return option + is_value + os.path.expanduser(value)
