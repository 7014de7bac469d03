"""Checkpoints of DINOv2 and DINOv3, of their publisher and of transformers, under the names that :mod:`..vit` has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch

from ...common.errors import InputError

_TOKENS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.mask_token": "mask_token",
    "embeddings.register_tokens": "register_tokens",
}


def published_names(tensors: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """``tensors`` under the published names; queries, keys and values become one tensor. Names that are not known stay, so that
    whoever checks the result finds them.

    :raises InputError: a part of a joined tensor is missing or does not fit.
    """
    if not all(isinstance(name, str) for name in tensors):
        return tensors
    names = {_V3_PREFIX.sub("", name) for name in tensors}
    if "storage_tokens" in names or {"embeddings.register_tokens", "embeddings.patch_embeddings.weight"} <= names:
        return _names_of_dinov3(tensors)  # as its publisher, or transformers, names them
    if any(_PREFIX.sub("", name) == "embeddings.cls_token" for name in tensors):
        return _names_of_transformers(tensors)
    return tensors


def _joined(name: str, parts: Sequence[torch.Tensor | None]) -> torch.Tensor:
    there = [part for part in parts if part is not None]
    shapes = {tuple(part.shape) for part in there}
    if len(there) != len(parts) or len(shapes) != 1 or () in shapes:
        raise InputError(
            f"of tensor {name!r} there are {len(there)} of {len(parts)} parts, or they differ in shape; get the file again"
        )
    return torch.cat(there)


# -- DINOv3

_V3_PREFIX = re.compile(r"^(dinov3_vit|model|backbone)\.(?=embeddings\.|norm\.|layer\.|model\.)")
_V3_BLOCK = re.compile(r"(?:model\.|encoder\.)?layer\.(\d+)\.(.+)")
_V3_NAMES = {
    **_TOKENS,
    "embeddings.patch_embeddings.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.bias": "patch_embed.proj.bias",
}
_V3_PARTS = {
    "layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma",
    **{f"mlp.{ours}_proj.{kind}": f"mlp.{name}.{kind}" for ours, name in (("up", "fc1"), ("down", "fc2")) for kind in ("weight", "bias")},
    **{f"attention.o_proj.{kind}": f"attn.proj.{kind}" for kind in ("weight", "bias")},
}  # fmt: skip
_OF_ATTENTION = re.compile(r"attention\.([qkv])_proj\.(weight|bias)")
_COMPUTED = re.compile(r"rope_embed(dings)?\.(periods|inv_freq)")  # from the shape of the network


def _names_of_dinov3(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Queries, keys and values become one tensor, keys without an offset as with one of 0, and the mask token a row."""
    found: dict[str, torch.Tensor] = {}
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for given, tensor in tensors.items():
        name = _V3_PREFIX.sub("", given)
        if _COMPUTED.fullmatch(name) or name.endswith(".attn.qkv.bias_mask"):
            continue
        block = _V3_BLOCK.fullmatch(name)
        if block is None:
            name = "register_tokens" if name == "storage_tokens" else _V3_NAMES.get(name, name)
            found[name] = tensor.reshape(1, -1) if name == "mask_token" else tensor
            continue
        piece = _OF_ATTENTION.fullmatch(block[2])
        if piece is None:
            found[f"blocks.{block[1]}.{_V3_PARTS.get(block[2], block[2])}"] = tensor
        else:
            parts.setdefault(f"blocks.{block[1]}.attn.qkv.{piece[2]}", {})[piece[1]] = tensor
    for name, own in parts.items():
        if name.endswith("bias") and "q" in own:
            own.setdefault("k", torch.zeros_like(own["q"]))
        found[name] = _joined(name, [own.get(letter) for letter in "qkv"])
    return {name: _without_key_offset(name, tensor) for name, tensor in found.items()}


def _without_key_offset(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The publisher's files hold any number where the offsets of the keys would be, which a mask takes away."""
    if not name.endswith("attn.qkv.bias") or tensor.ndim != 1 or len(tensor) % 3:
        return tensor
    tensor = tensor.clone()
    tensor[len(tensor) // 3 : 2 * len(tensor) // 3] = 0
    return tensor


# -- DINOv2 of transformers

_PREFIX = re.compile(r"^(dinov2|dinov2_with_registers|model|backbone)\.")
_NAMES = {
    **_TOKENS,
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


def _names_of_transformers(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
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
        found[name] = _joined(name, [parts.get(number) for number in range(expected)])
    return found
