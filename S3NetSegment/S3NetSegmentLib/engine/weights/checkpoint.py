"""Reading files of weights safely: only tensors and plain values, never code, and a plain sentence if that fails."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from ..errors import InputError
from ..images.files import file_head


def read_torch_file(
    path: str | os.PathLike,
    *,
    mapped: bool = False,
    remedy: str = "Get the published file again, e.g. with s3net weights get",
):
    """The content of a file written by ``torch.save``, on the CPU.

    :param mapped: leave the tensors on the disk until they are used (to look at names and shapes only).
    :param remedy: what the message of an error advises.
    :raises InputError: missing, empty, cut off, damaged, or of another kind.
    """
    name = os.fspath(path)
    if os.path.isdir(path):
        raise InputError(f"{name!r} is a folder; name a file of weights in it")
    is_archive = file_head(path).startswith(b"PK")  # the older format of torch cannot be mapped
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_archive)
    except MemoryError:
        raise
    except Exception as error:  # bytes that are no pickle at all raise nearly anything
        if any(sign in str(error).lower() for sign in ("unsupported global", "unsupported class")):
            problem = "holds Python objects besides weights and is not opened, since these could run code"
        else:
            problem = "is no file of weights, or it is damaged or was cut off while it was copied"
        raise InputError(f"{name!r} {problem} ({os.path.getsize(path):,} bytes). {remedy}") from error


def read_weights(path: str | os.PathLike, *, mapped: bool = False) -> Mapping[str, torch.Tensor]:
    """The tensors of a checkpoint by name. Raises InputError as :func:`read_torch_file`, and if it is not a plain
    collection of named tensors."""
    content = read_torch_file(path, mapped=mapped)
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(t, torch.Tensor) for t in content.values())
    ):
        inside = f" (it holds {', '.join(map(str, list(content)[:4]))})" if isinstance(content, Mapping) else ""
        raise InputError(
            f"{os.fspath(path)!r} is no plain collection of weights{inside}; take the backbone file as it is published, "
            "dinov2_vit..._pretrain.pth, not a training snapshot"
        )
    return content


def recognise_file(path: str | os.PathLike) -> str:
    """The name of the DINOv2 model whose weights ``path`` holds, strictly checked by names and shapes of all tensors.

    :raises InputError: anything else, with what does not fit.
    """
    from ..nets.dinov2 import recognise

    try:
        return recognise(read_weights(path, mapped=True))
    except InputError as error:
        if os.fspath(path) in str(error):
            raise
        raise InputError(f"{os.fspath(path)!r}: {error}") from None
