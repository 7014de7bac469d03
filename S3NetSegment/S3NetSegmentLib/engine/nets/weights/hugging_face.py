"""DINOv2 weights under the names of Hugging Face's transformers, brought to those of the published checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from ...common.errors import InputError

_MARK = "embeddings.cls_token"
_PREFIX = re.compile(r"^(dinov2|dinov2_with_registers|model|backbone)\.")
_NAMES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.mask_token": "mask_token",
    "embeddings.register_tokens": "register_tokens",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
}
# Of a block. Files of the hub have the older names, models in memory since transformers 5 the others.
_PARTS = {
    "norm1": "norm1", "norm2": "norm2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2", "mlp.weights_in": "mlp.w12",
    "mlp.weights_out": "mlp.w3", "mlp.down_proj": "mlp.w3", "attention.output.dense": "attn.proj", "attention.o_proj": "attn.proj",
}  # fmt: skip
_JOINED = {
    **{f"attention.attention.{name}": ("attn.qkv", n) for n, name in enumerate(("query", "key", "value"))},
    **{f"attention.{name}_proj": ("attn.qkv", n) for n, name in enumerate("qkv")},
    "mlp.gate_proj": ("mlp.w12", 0),
    "mlp.up_proj": ("mlp.w12", 1),
}
_PIECES = {"attn.qkv": 3, "mlp.w12": 2}
_SCALES = re.compile(r"layer_scale([12])\.lambda1")


def is_of_transformers(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether ``tensors`` have such names."""
    return all(isinstance(name, str) for name in tensors) and any(_PREFIX.sub("", name) == _MARK for name in tensors)


def published_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``tensors`` under the published names; queries, keys and values become one tensor. Names that are not known stay, so that
    whoever checks the result finds them. Raises InputError where a part of a joined tensor is missing or does not fit."""
    found: dict[str, torch.Tensor] = {}
    pieces: dict[str, dict[int, torch.Tensor]] = {}
    for given, tensor in tensors.items():
        name = _PREFIX.sub("", given)
        block = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", name)
        if block is None:
            stem, _, kind = name.rpartition(".")
            new = _NAMES.get(name) or (f"{_NAMES[stem]}.{kind}" if stem in _NAMES else given)
            found[new] = tensor
            continue
        at, (part, _, kind) = f"blocks.{block[1]}", block[2].rpartition(".")
        if scale := _SCALES.fullmatch(block[2]):
            found[f"{at}.ls{scale[1]}.gamma"] = tensor
        elif part in _JOINED:
            whole, number = _JOINED[part]
            pieces.setdefault(f"{at}.{whole}.{kind}", {})[number] = tensor
        else:
            found[f"{at}.{_PARTS[part]}.{kind}" if part in _PARTS else given] = tensor
    for name, parts in pieces.items():
        expected = _PIECES[name.split(".", 2)[2].rpartition(".")[0]]
        shapes = {tuple(part.shape) for part in parts.values()}
        if len(parts) != expected or len(shapes) != 1 or () in shapes:
            raise InputError(
                f"of tensor {name!r} there are {len(parts)} of {expected} parts, or they differ in shape; get the file again"
            )
        found[name] = torch.cat([parts[n] for n in range(expected)])
    return found
