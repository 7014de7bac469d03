"""Errors of the engine. Their texts are shown to the user as they are: what, which value, how to fix it."""

from __future__ import annotations

import warnings


class InputError(ValueError):
    """Input that cannot be used: a file, an image, a point or a setting. Exit code 2 on the command line."""


class UnknownFormatError(InputError):
    """A file whose content is of no image format that the engine reads."""


class MissingPackageError(InputError):
    """Input that only an optional Python package can read; ``package`` is its name for pip."""

    def __init__(self, text: str, package: str):
        super().__init__(text)
        self.package = package


class ResourceError(RuntimeError):
    """The machine could not do it (memory, device, disk), with what was tried and what would help."""


class ImageWarning(UserWarning):
    """Something about an image file that the user should know, though the image can be used (Python warning)."""


def image_warning(text: str) -> None:
    """Issues ``text`` as :class:`ImageWarning`."""
    warnings.warn(text, ImageWarning, stacklevel=3)
