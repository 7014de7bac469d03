"""Reading ``.safetensors`` files by the package of that name. Nothing of such a file can run as code, and what it claims of itself
is compared with its size before any memory is taken."""

from __future__ import annotations

import os

import torch

from ...common.errors import InputError, MissingPackageError
from ...images.files import file_head

SUFFIX = ".safetensors"
_TYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")


def is_safetensors(path: str | os.PathLike) -> bool:
    """Whether ``path`` says by its name or its first bytes that it is such a file. InputError if it is missing or empty."""
    return os.fspath(path).endswith(SUFFIX) or (not os.path.isdir(path) and file_head(path)[8:10] == b'{"')


def read_safetensors(path: str | os.PathLike, *, shapes_only: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of a file by name, on the CPU.

    :param shapes_only: tensors without content (on torch's device "meta"); only the header is read.
    :raises InputError: missing, empty, cut off, damaged, or claiming more than it holds.
    :raises MissingPackageError: safetensors is not installed.
    """
    name = os.fspath(path)
    if os.path.isdir(path):
        raise InputError(f"{name!r} is a folder; name a file of weights in it")
    file_head(path)
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise MissingPackageError(
            f"{name!r} needs safetensors; install it with 'pip install safetensors', or take the publisher's .pth file",
            "safetensors",
        ) from None
    found = {}
    try:
        with safe_open(path, "pt") as file:
            for key in file.keys():
                entry = file.get_slice(key)
                if (kind := entry.get_dtype()) not in _TYPES:
                    raise ValueError(f"tensor {key!r} is of type {kind!r}; known are {', '.join(_TYPES)}")
                found[key] = torch.empty(entry.get_shape(), device="meta") if shapes_only else file.get_tensor(key)
    except (SafetensorError, ValueError, RuntimeError, OSError) as error:
        raise InputError(
            f"{name!r} is not a valid .safetensors file: {error} ({os.path.getsize(path):,} bytes). Get the file again"
        ) from None
    return found
