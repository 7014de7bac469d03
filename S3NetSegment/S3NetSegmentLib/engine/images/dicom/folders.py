"""The files of a folder, as far as they may belong to a study."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ...common.errors import InputError

_MOST_FILES = 200_000


def files_in(folder: Path, below: bool) -> Iterator[Path]:
    """The visible files of a folder (and, if ``below``, of all folders in it), sorted."""
    count = 0
    try:
        for place, folders, names in os.walk(folder, onerror=_refuse):
            folders[:] = sorted(name for name in folders if not name.startswith(".")) if below else []
            for name in sorted(names):
                if name.startswith("."):
                    continue
                count += 1
                if count > _MOST_FILES:
                    raise InputError(
                        f"folder {str(folder)!r} holds more than {_MOST_FILES:,} files; give the folder of the study"
                    )
                path = Path(place, name)
                if path.is_file():
                    yield path
    except OSError as error:
        raise InputError(f"folder {str(folder)!r} cannot be opened ({error.strerror}); check its permissions") from None


def _refuse(error: OSError) -> None:
    raise error
