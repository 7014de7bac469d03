"""Reading ``.safetensors`` files: the length of a header, the header in JSON, the bytes of the tensors.

Source: the description of the format at github.com/huggingface/safetensors. Nothing of such a file can run as code; what it claims
of itself is compared with its size before any memory is taken.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass

import torch

from ...common.errors import InputError
from ...images.files import file_head

SUFFIX = ".safetensors"
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_LENGTH = 8  # bytes of the number in front of the header
_LONGEST_HEADER = 8 << 20
_MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class _Entry:
    """Where a tensor lies: bytes ``begin`` to ``end`` (excluded) after the header."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def is_safetensors(path: str | os.PathLike) -> bool:
    """Whether ``path`` says by its name or its first bytes that it is such a file. InputError if it is missing or empty."""
    if os.fspath(path).endswith(SUFFIX):
        return True
    return not os.path.isdir(path) and file_head(path)[_LENGTH : _LENGTH + 2] == b'{"'


def read_safetensors(path: str | os.PathLike, *, shapes_only: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of a file by name, on the CPU.

    :param shapes_only: tensors without content (on torch's device "meta"); only the header is read.
    :raises InputError: missing, empty, cut off, damaged, or claiming more than it holds.
    """
    name = os.fspath(path)
    if os.path.isdir(path):
        raise InputError(f"{name!r} is a folder; name a file of weights in it")
    file_head(path)
    try:
        with open(path, "rb") as file:
            entries, start = _entries(file, os.path.getsize(path))
            if shapes_only:
                return {key: torch.empty(e.shape, dtype=e.dtype, device="meta") for key, e in entries.items()}
            return {key: _read(file, start, entry) for key, entry in entries.items()}
    except ValueError as error:
        raise InputError(
            f"{name!r} is not a valid .safetensors file: {error} ({os.path.getsize(path):,} bytes). Get the file again"
        ) from None


def _entries(file, size: int) -> tuple[dict[str, _Entry], int]:
    """The tensors of the header, checked against ``size`` (bytes of the file), and where their bytes begin. ValueError says what
    is wrong."""
    if size < _LENGTH:
        raise ValueError("it ends within the length of its header")
    length = int.from_bytes(file.read(_LENGTH), "little")
    if length > size - _LENGTH:
        raise ValueError(f"its header claims {length:,} bytes, more than the file has; it was cut off or is damaged")
    if length > _LONGEST_HEADER:
        raise ValueError(f"its header claims {length:,} bytes, more than any list of weights needs")
    try:
        header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_without_repetition)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a list of tensors")
    room = size - _LENGTH - length
    entries = {key: _entry(key, value, room) for key, value in header.items() if key != "__metadata__"}
    end = 0
    for key, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            raise ValueError(
                f"tensor {key!r} begins at byte {entry.begin:,} and not at {end:,}, where the one before ends"
            )
        end = entry.end
    if end != room:
        raise ValueError(f"its tensors end at byte {end:,}, but {room:,} bytes follow the header")
    return entries, _LENGTH + length


def _without_repetition(pairs) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header names something twice")
    return found


def _entry(key: str, value, room: int) -> _Entry:
    """One tensor of the header, whose bytes must lie in ``room`` bytes. ValueError says what is wrong."""
    if not isinstance(value, dict) or not {"dtype", "shape", "data_offsets"} <= value.keys():
        raise ValueError(f"tensor {key!r} has no dtype, shape and data_offsets")
    kind, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(kind, str) or kind not in _TYPES:
        raise ValueError(f"tensor {key!r} is of type {str(kind)[:20]!r}; known are {', '.join(_TYPES)}")
    if not _are_counts(shape) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"tensor {key!r} has no shape of at most {_MOST_DIMENSIONS} whole numbers")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"tensor {key!r} has no two data_offsets, begin and end")
    if offsets[1] > room:
        raise ValueError(
            f"tensor {key!r} claims bytes up to {offsets[1]:,}, but only {room:,} follow the header; it was cut off or is damaged"
        )
    needed = math.prod(shape) * _TYPES[kind].itemsize
    if needed != offsets[1] - offsets[0]:
        raise ValueError(f"tensor {key!r} of {shape} {kind} needs {needed:,} bytes and has {offsets[1] - offsets[0]:,}")
    return _Entry(_TYPES[kind], tuple(shape), *offsets)


def _are_counts(values) -> bool:
    """Whether ``values`` is a list of whole numbers from 0 on (JSON's true and false are none)."""
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 62 for v in values)


def _read(file, start: int, entry: _Entry) -> torch.Tensor:
    tensor = torch.empty(entry.shape, dtype=entry.dtype)
    wanted = entry.end - entry.begin
    if wanted:
        file.seek(start + entry.begin)
        if file.readinto(tensor.view(-1).view(torch.uint8).numpy()) != wanted:
            raise ValueError("it became shorter while it was read")
    return tensor
