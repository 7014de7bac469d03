"""Reading files of weights safely, of torch and ``.safetensors``: only tensors and plain values, never code, and a plain sentence
if that fails."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping

import torch

from ...common.errors import InputError, MissingPackageError
from ...images.files import file_head
from .names import published_names

SAFETENSORS = ".safetensors"  # their ending
_TYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL")
_MOST_PACKED = 64 << 20  # bytes that an archive may unpack to beyond its own size
_LARGEST_LIST = 8 << 20  # bytes of the part that tells what is in the file
_MOST_PARTS = 2_000_000  # numbers, texts, tensors and collections in a file


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
    is_archive = _start_of(path).startswith(b"PK")  # the older format of torch cannot be mapped
    try:
        if is_archive:
            _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_archive)
        _check_content(content)
        return content
    except MemoryError:
        raise
    except Exception as error:  # bytes that are not a pickle at all raise nearly anything
        if any(sign in str(error).lower() for sign in ("unsupported global", "unsupported class")):
            problem = "holds Python objects besides weights and is not opened, since these could run code"
        else:
            problem = "is no file of weights, or it is damaged or was cut off while it was copied"
        raise InputError(f"{name!r} {problem} ({os.path.getsize(path):,} bytes). {remedy}") from error


def read_safetensors(path: str | os.PathLike, *, shapes_only: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of a ``.safetensors`` file by name, on the CPU. What it claims is compared with its size before memory is taken.

    :param shapes_only: tensors without content (on torch's device "meta"); only the header is read.
    :raises InputError: missing, empty, cut off, damaged, or claiming more than it holds.
    :raises MissingPackageError: safetensors is not installed.
    """
    name = os.fspath(path)
    _start_of(path)
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


def _start_of(path: str | os.PathLike) -> bytes:
    """The first bytes. InputError if it is missing, empty, or a folder."""
    if os.path.isdir(path):
        raise InputError(f"{os.fspath(path)!r} is a folder; name a file of weights in it")
    return file_head(path)


def is_described(content, but: tuple[str, ...]) -> bool:
    """Whether ``content`` is a collection with a "format", and without tensors outside its entries ``but``: where words and
    numbers are expected, a comparison with a tensor is neither yes nor no."""
    if not isinstance(content, dict) or not isinstance(content.get("format"), str):
        return False
    others = [value for name, value in content.items() if name not in but]
    return not any(isinstance(part, torch.Tensor) for part in _parts_of(others))


def _parts_of(content) -> Iterator:
    """``content`` and everything that it holds; without end if collections hold each other."""
    waiting = [content]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, Mapping):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            waiting += part


def _check_archive(path: str | os.PathLike) -> None:
    """Refuses an archive that would unpack to far more than it is: torch itself never compresses."""
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        largest = max((m.file_size for m in archive.infolist() if m.filename.endswith(".pkl")), default=0)
    if largest > _LARGEST_LIST:
        raise ValueError(f"its list of contents has {largest:,} bytes")
    if size > os.path.getsize(path) + _MOST_PACKED:
        raise ValueError(f"it unpacks to {size:,} bytes")


def _check_content(content) -> None:
    """Refuses tensors that are not plain numbers in memory or claim more of it than the file gave them, and collections that
    hold each other again and again: walking through them would never end."""
    for number, part in enumerate(_parts_of(content)):
        if number == _MOST_PARTS:
            raise ValueError(f"it holds more than {_MOST_PARTS:,} parts")
        if isinstance(part, torch.Tensor):
            plain = part.layout == torch.strided and part.device.type == "cpu" and not part.is_quantized
            if not plain or part.is_complex() or part.numel() * part.element_size() > part.untyped_storage().nbytes():
                raise ValueError(f"it holds a tensor of another kind than weights ({part.dtype}, {tuple(part.shape)})")


def read_weights(path: str | os.PathLike, *, mapped: bool = False) -> Mapping[str, torch.Tensor]:
    """The tensors of a checkpoint by name, those of transformers under the published names. Raises InputError as
    :func:`read_torch_file` or :func:`read_safetensors`, and if it is not a plain collection of named tensors.

    :param mapped: to look at names and shapes only: the tensors may have no content.
    """
    if os.fspath(path).endswith(SAFETENSORS) or _start_of(path)[8:10] == b'{"':
        content = read_safetensors(path, shapes_only=mapped)
    else:
        content = read_torch_file(path, mapped=mapped)
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(t, torch.Tensor) for t in content.values())
    ):
        inside = f" (it holds {', '.join(map(str, list(content)[:4]))})" if isinstance(content, Mapping) else ""
        raise InputError(
            f"{os.fspath(path)!r} is not a plain collection of weights{inside}; take the backbone file as it is published, "
            "dinov2_vit..._pretrain.pth, not a training snapshot"
        )
    return published_names(content)


def recognise_file(path: str | os.PathLike) -> str:
    """The name of the DINOv2 model whose weights ``path`` holds, strictly checked by names and shapes of all tensors.

    :raises InputError: anything else, with what does not fit.
    """
    from ..dinov2 import recognise

    try:
        return recognise(read_weights(path, mapped=True))
    except InputError as error:
        if os.fspath(path) in str(error):
            raise
        raise InputError(f"{os.fspath(path)!r}: {error}") from None
