"""DINOv3's checkpoints, those of its publisher and those of transformers, under the names that :mod:`..vit` has."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from ...common.errors import InputError

_PREFIX = re.compile(r"^(dinov3_vit|model|backbone)\.(?=embeddings\.|norm\.|layer\.|model\.)")
_BLOCK = re.compile(r"(?:model\.|encoder\.)?layer\.(\d+)\.(.+)")
_NAMES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.mask_token": "mask_token",
    "embeddings.register_tokens": "register_tokens",
    "embeddings.patch_embeddings.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.bias": "patch_embed.proj.bias",
}
_PARTS = {
    "layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma",
    **{f"mlp.{ours}_proj.{kind}": f"mlp.{name}.{kind}" for ours, name in (("up", "fc1"), ("down", "fc2")) for kind in ("weight", "bias")},
    **{f"attention.o_proj.{kind}": f"attn.proj.{kind}" for kind in ("weight", "bias")},
}  # fmt: skip
_OF_ATTENTION = re.compile(r"attention\.([qkv])_proj\.(weight|bias)")
_COMPUTED = re.compile(r"rope_embed(dings)?\.(periods|inv_freq)")  # from the shape of the network


def is_dinov3(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether ``tensors`` have the names of DINOv3's publisher, or those of transformers."""
    names = {_PREFIX.sub("", name) for name in tensors if isinstance(name, str)}
    return "storage_tokens" in names or {"embeddings.register_tokens", "embeddings.patch_embeddings.weight"} <= names


def dinov3_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``tensors`` of :func:`is_dinov3` under our names: queries, keys and values as one tensor, keys without an offset as with one of 0,
    the mask token as a row. Names that are not known stay, so that whoever checks the result finds them.

    :raises InputError: a part of a joined tensor is missing or does not fit.
    """
    found: dict[str, torch.Tensor] = {}
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for given, tensor in tensors.items():
        name = _PREFIX.sub("", given)
        if _COMPUTED.fullmatch(name) or name.endswith(".attn.qkv.bias_mask"):
            continue
        block = _BLOCK.fullmatch(name)
        if block is None:
            name = "register_tokens" if name == "storage_tokens" else _NAMES.get(name, name)
            found[name] = tensor.reshape(1, -1) if name == "mask_token" else tensor
            continue
        piece = _OF_ATTENTION.fullmatch(block[2])
        if piece is None:
            found[f"blocks.{block[1]}.{_PARTS.get(block[2], block[2])}"] = tensor
        else:
            parts.setdefault(f"blocks.{block[1]}.attn.qkv.{piece[2]}", {})[piece[1]] = tensor
    for name, own in parts.items():
        if name.endswith("bias") and "q" in own:
            own.setdefault("k", torch.zeros_like(own["q"]))
        if own.keys() != set("qkv") or len({tuple(part.shape) for part in own.values()}) != 1:
            raise InputError(
                f"of tensor {name!r} there are {len(own)} of 3 parts, or they differ in shape; get the file again"
            )
        found[name] = torch.cat([own[letter] for letter in "qkv"])
    return {name: _without_key_offset(name, tensor) for name, tensor in found.items()}


def _without_key_offset(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The publisher's files hold any number where the offsets of the keys would be, which a mask takes away."""
    if not name.endswith("attn.qkv.bias") or tensor.ndim != 1 or len(tensor) % 3:
        return tensor
    tensor = tensor.clone()
    tensor[len(tensor) // 3 : 2 * len(tensor) // 3] = 0
    return tensor
