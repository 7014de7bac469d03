"""Reading JSON files that anybody may have written or damaged: bounded in size, and one kind of error for all that is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..images.files import refuse_devices
from .errors import InputError

LARGEST = 64 << 20  # bytes


def read_json(path: str | os.PathLike, remedy: str = "correct or remove it"):
    """The content of the JSON file at ``path``.

    :param remedy: what the message of an error advises.
    :raises InputError: missing, unreadable, larger than 64 MB, no UTF-8 text, no JSON, or nested too deeply.
    """
    shown = repr(os.fspath(path))
    try:
        refuse_devices(path)
        size = os.path.getsize(path)
        if size > LARGEST:
            raise InputError(f"{shown} has {size >> 20:,} MB, more than such a file ever needs; {remedy}")
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"{shown} is nested too deeply to be read; {remedy}") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{shown} is no readable JSON ({error}); {remedy}") from None
