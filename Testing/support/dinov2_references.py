"""What DINOv2 and DINOv3 of the package transformers answer, kept in engine/dinov2_references.npz, and under which names it saves their
weights, kept in engine/dinov2_names.json: references that are not our own code.

    python3 Testing/support/dinov2_references.py   makes the files anew; needs "pip install transformers", made with 5.24.0

The weights and images are random numbers of numpy, which are the same on every machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

_testing = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from S3NetSegmentLib.engine.nets import vit  # noqa: E402
from S3NetSegmentLib.engine.nets.dinov2 import ARCHITECTURES, Architecture  # noqa: E402
from S3NetSegmentLib.engine.nets.weights.checkpoint import read_safetensors, read_weights  # noqa: E402

NAMES = _testing / "engine" / "dinov2_names.json"
FILE = _testing / "engine" / "dinov2_references.npz"
EVERY = 61  # values between two that are kept; prime, so that all columns of all parts of the image are met
SIZES = [(224, 224), (252, 252), (448, 336), (518, 518)]
REFERENCED = {
    "plain": Architecture(96, 2, 3, 384),
    "registers": Architecture(96, 2, 3, 384, registers=4),
    "gated": Architecture(96, 2, 3, 256, gated=True),
    "gated, registers": Architecture(96, 2, 3, 256, gated=True, registers=4),
    "ViT-S with registers": ARCHITECTURES["dinov2-vits14-reg4"],
    "ViT-S": ARCHITECTURES["dinov2-vits14"],
    "rotary": Architecture(96, 2, 3, 384, registers=4, patch=16, rotary=True),
    "DINOv3 ViT-S": ARCHITECTURES["dinov3-vits16"],
}
ROTARY_SIZES = [(224, 224), (448, 336)]
# the whole ViT-S at two sizes only, to be quick
CASES = [
    (kind, size)
    for kind, architecture in REFERENCED.items()
    for size in (ROTARY_SIZES if architecture.rotary else SIZES[1::2] if "ViT" in kind else SIZES)
]


def model_and_image(kind: str, size: tuple[int, int]):
    """Our model of ``kind`` with random weights, and a random image."""
    architecture = REFERENCED[kind]
    model = architecture.build((-1,))
    numbers = np.random.default_rng(len(kind))
    spread = 0.05 if architecture.depth > 2 else 0.15  # large enough for every part to show in the tokens
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_scale = name.endswith("gamma") or ("norm" in name and name.endswith("weight"))
            values = numbers.standard_normal(tuple(parameter.shape)) * spread + 0.7 * is_scale
            parameter.copy_(torch.from_numpy(values))
        if architecture.rotary:  # DINOv3's keys have no offsets
            for block in model.blocks:
                block.attn.qkv.bias[architecture.width : 2 * architecture.width] = 0
        else:
            model.pos_embed.mul_(3)
    return model.eval(), torch.from_numpy(numbers.standard_normal((1, 3, *size)).astype(np.float32))


def kept(tokens: torch.Tensor) -> np.ndarray:
    """The part of ``tokens`` that is in the file."""
    return tokens.numpy().ravel()[::EVERY]


def in_transformers(model) -> dict:
    """The state dict of ``model`` under the names of transformers 5 (see its conversion mapping)."""
    if model.rotary:
        return _dinov3_in_transformers(model)
    names = {
        "cls_token": "embeddings.cls_token", "mask_token": "embeddings.mask_token",
        "register_tokens": "embeddings.register_tokens", "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection", "norm": "layernorm",
    }  # fmt: skip
    result = {}
    for name, tensor in model.state_dict().items():
        stem, _, kind = name.rpartition(".")
        if not name.startswith("blocks."):
            result[names[name] if name in names else f"{names[stem]}.{kind}"] = tensor
            continue
        _, i, rest = name.split(".", 2)
        at = f"encoder.layer.{i}"
        part = rest.removesuffix(f".{kind}")
        if part == "attn.qkv":
            for piece, letter in zip(tensor.chunk(3), "qkv", strict=True):
                result[f"{at}.attention.{letter}_proj.{kind}"] = piece
        elif part == "attn.proj":
            result[f"{at}.attention.o_proj.{kind}"] = tensor
        elif part in ("ls1", "ls2"):
            result[f"{at}.layer_scale{part[2]}.lambda1"] = tensor
        elif part == "mlp.w12":
            for piece, letter in zip(tensor.chunk(2), ("gate", "up"), strict=True):
                result[f"{at}.mlp.{letter}_proj.{kind}"] = piece
        elif part == "mlp.w3":
            result[f"{at}.mlp.down_proj.{kind}"] = tensor
        else:
            result[f"{at}.{part}.{kind}"] = tensor
    return result


def _dinov3_in_transformers(model) -> dict:
    names = {
        "mask_token": "embeddings.mask_token", "cls_token": "embeddings.cls_token", "register_tokens": "embeddings.register_tokens",
        "patch_embed.proj": "embeddings.patch_embeddings", "norm": "norm", "attn.proj": "attention.o_proj",
        "ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1", "mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj",
        "norm1": "norm1", "norm2": "norm2",
    }  # fmt: skip
    result = {}
    for name, tensor in model.state_dict().items():
        at, own = "", name
        if name.startswith("blocks."):
            _, i, own = name.split(".", 2)
            at = f"model.layer.{i}."
        stem, _, kind = own.rpartition(".")
        if stem == "attn.qkv":
            for piece, letter in zip(tensor.chunk(3), "qkv", strict=True):
                if (letter, kind) != ("k", "bias"):
                    result[f"{at}attention.{letter}_proj.{kind}"] = piece
        else:
            result[at + (names[own] if own in names else f"{names[stem]}.{kind}")] = tensor
    result["embeddings.mask_token"] = result["embeddings.mask_token"][None]
    return result


def _of_transformers(model, architecture):
    """The model of transformers with the weights of ``model``."""
    import transformers

    if architecture.rotary:
        config = transformers.DINOv3ViTConfig(
            hidden_size=architecture.width, num_hidden_layers=architecture.depth, num_attention_heads=architecture.heads,
            intermediate_size=architecture.hidden, num_register_tokens=4,
        )  # fmt: skip
        other = transformers.DINOv3ViTModel(config)
        other.load_state_dict(in_transformers(model), strict=True)
        return other.eval()
    options = {
        "hidden_size": architecture.width, "num_hidden_layers": architecture.depth,
        "num_attention_heads": architecture.heads, "image_size": 518, "patch_size": 14, "layer_norm_eps": 1e-6,
        "use_swiglu_ffn": architecture.gated, "mlp_ratio": 4,
    }  # fmt: skip
    if architecture.registers:
        config = transformers.Dinov2WithRegistersConfig(num_register_tokens=4, **options)
        other = transformers.Dinov2WithRegistersModel(config)
    else:
        other = transformers.Dinov2Model(transformers.Dinov2Config(**options))
    other.load_state_dict(in_transformers(model), strict=True)
    return other.eval()


def saved_names(kind: str) -> dict[str, list[int]]:
    """Name -> shape of the tensors in the model.safetensors that transformers writes, after a check that our reader finds in it
    the very weights."""
    model, _ = model_and_image(kind, (REFERENCED[kind].patch,) * 2)
    with tempfile.TemporaryDirectory() as folder:
        _of_transformers(model, REFERENCED[kind]).save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        found, ours = read_weights(file), model.state_dict()
        assert found.keys() == ours.keys() and all(torch.equal(found[name], ours[name]) for name in ours), kind
        return {name: list(tensor.shape) for name, tensor in sorted(read_safetensors(file, shapes_only=True).items())}


def main() -> None:
    names = {kind: saved_names(kind) for kind in REFERENCED if "ViT" not in kind}
    NAMES.write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
    vit.SCALE_OFFSET = 0.0  # see the test
    kept_values = {}
    for kind, size in CASES:
        model, image = model_and_image(kind, size)
        with torch.no_grad():
            expected = _of_transformers(model, REFERENCED[kind])(pixel_values=image).last_hidden_state
            difference = (model.tokens(image)[0] - expected).abs().max().item()
        print(f"{kind}, {size}: {difference:.1e} from ours")
        kept_values[f"{kind} {size}"] = kept(expected)
    np.savez_compressed(FILE, **kept_values)


if __name__ == "__main__":
    main()
