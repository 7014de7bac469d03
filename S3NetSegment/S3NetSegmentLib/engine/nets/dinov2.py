"""DINOv2 and DINOv3 encoders: published vision transformers, and how grey slices and colour pictures enter them.

Source: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", arXiv 2304.07193; Darcet et al.,
"Vision Transformers Need Registers", arXiv 2309.16588; Siméoni et al., "DINOv3", arXiv 2508.10104. DINOv2's weights are published
under the Apache License 2.0, DINOv3's under a licence of their own; none are a part of this software (see :mod:`.weights`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..common.errors import InputError
from ..common.progress import Step, Steps
from .encoder import Encoder
from .vit import GRID, PATCH, VisionTransformer, is_native_bfloat16, patches_for

_MEAN = (0.485, 0.456, 0.406)  # of the RGB values of ImageNet, with which DINOv2 was trained
_DEVIATION = (0.229, 0.224, 0.225)
PRECISIONS = ("auto", "float32", "bfloat16")
INPUTS = ("imagenet", "zscore")


@dataclass(frozen=True)
class Architecture:
    """The shape of one published model."""

    width: int
    depth: int
    heads: int
    hidden: int
    gated: bool = False
    registers: int = 0
    patch: int = PATCH
    rotary: bool = False

    def build(self, levels: Sequence[int] = (-1,)) -> VisionTransformer:
        return VisionTransformer(
            self.width, self.depth, self.heads, self.hidden, gated=self.gated, registers=self.registers, patch=self.patch,
            rotary=self.rotary, levels=levels,
        )  # fmt: skip

    def begins_like(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether tensors of these names and shapes look like its checkpoint from what comes before the blocks."""
        positions = None if self.rotary else (1, 1 + GRID * GRID, self.width)
        return (
            shapes.get("pos_embed") == positions
            and bool(self.registers) == ("register_tokens" in shapes)
            and (not self.rotary or shapes.get("patch_embed.proj.weight") == (self.width, 3, self.patch, self.patch))
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor of its checkpoint; nothing is allocated."""
        with torch.device("meta"):
            return {name: tuple(tensor.shape) for name, tensor in self.build().state_dict().items()}


_SIZES = {
    "s": (384, 12, 6, 1536, False),
    "b": (768, 12, 12, 3072, False),
    "l": (1024, 24, 16, 4096, False),
    "g": (1536, 40, 24, 4096, True),
}
ARCHITECTURES: Mapping[str, Architecture] = {
    f"dinov2-vit{size}14{suffix}": Architecture(*shape, registers)
    for size, shape in _SIZES.items()
    for suffix, registers in (("", 0), ("-reg4", 4))
} | {
    f"dinov3-vit{size}16": Architecture(*_SIZES[size], registers=4, patch=16, rotary=True) for size in "sbl"
}  # fmt: skip


def recognise(tensors: Mapping[str, torch.Tensor]) -> str:
    """The name (of :data:`ARCHITECTURES`) of the model whose checkpoint ``tensors`` is: every tensor present, none too
    many, all of the right shape. Raises InputError that says what does not fit."""
    shapes = {name: tuple(getattr(tensor, "shape", ())) for name, tensor in tensors.items()}
    candidates = [name for name, one in ARCHITECTURES.items() if one.begins_like(shapes)]
    if not candidates:
        raise InputError(
            f"the file holds {len(shapes)} tensors ({_few(shapes)}), but not those of a DINOv2 backbone, or of DINOv3's ViT-S, B or L; take "
            "one of the published files dinov2_vit{s,b,l,g}14[_reg4]_pretrain.pth, dinov3_vit{s,b,l}16_pretrain....pth or the "
            "model.safetensors of transformers' DINOv2 or DINOv3 (not a linear head, not another library's format)"
        )
    expected = ARCHITECTURES[candidates[0]].shapes()
    missing, extra = expected.keys() - shapes.keys(), shapes.keys() - expected.keys()
    wrong = [name for name in expected.keys() & shapes.keys() if expected[name] != shapes[name]]
    problems = [f"{len(s)} {what} ({_few(s)})" for s, what in ((missing, "missing"), (extra, "unknown")) if s]
    if wrong:
        name = min(wrong)
        problems.append(f"{len(wrong)} of another shape ({name}: {list(shapes[name])}, not {list(expected[name])})")
    if problems:
        raise InputError(
            f"the file looks like {candidates[0]}, but of its {len(expected)} tensors there are {', '.join(problems)}; "
            "take the published file as it is"
        )
    return candidates[0]


def _few(names: Iterable[str]) -> str:
    names = sorted(map(str, names))
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


class Dinov2Encoder(Encoder):
    """A DINOv2 or DINOv3 transformer that takes grey or colour images of any size.

    Sides that are no multiple of its patches (14 or 16 pixels) are enlarged to the next one.

    :param input_scale: "imagenet" takes values from 0 to 1 and normalises them with ImageNet's statistics, as both were
        trained; "zscore" passes values on as they are (mean 0, deviation 1 over the volume), as the published few-shot
        method does.
    :param precision: "float32", "bfloat16", or "auto": bfloat16 where ``device`` computes in it natively.
    """

    in_channels = 1

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self,
        transformer: VisionTransformer,
        *,
        input_scale: str = "imagenet",
        precision: str = "float32",
        device: torch.device | str = "cpu",
    ):
        super().__init__()
        if input_scale not in INPUTS or precision not in PRECISIONS:
            raise InputError(
                f"input_scale is {input_scale!r} and precision {precision!r}; they must be of {INPUTS} and {PRECISIONS}"
            )
        device = torch.device(device)
        if precision == "auto":
            precision = "bfloat16" if is_native_bfloat16(device) else "float32"
        self.transformer = transformer.to(device).use_precision(getattr(torch, precision))
        self.input_scale = input_scale
        self.precision = precision
        self.channels, self.strides = transformer.channels, transformer.strides
        self.register_buffer("mean", torch.tensor(_MEAN, device=device).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION, device=device).view(3, 1, 1), persistent=False)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, torch.Tensor], *, levels: Sequence[int] = (-1,), **options
    ) -> Dinov2Encoder:
        """An encoder with the weights of a checkpoint, loaded strictly and without a second copy in memory; frozen, in
        evaluation mode. Raises InputError as :func:`recognise`, and for weights that are not finite."""
        architecture = ARCHITECTURES[recognise(tensors)]
        for name, tensor in tensors.items():
            if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
                raise InputError(f"tensor {name!r} of the weights is not all finite numbers; get the file again")
        with torch.device("meta"):
            transformer = architecture.build(levels)
        given = {name: tensor.float() for name, tensor in tensors.items()}
        transformer.load_state_dict(given, strict=True, assign=True)
        return cls(transformer.requires_grad_(False).eval(), **options)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """``image`` ``[N, 1 or 3, H, W]`` to one float32 ``[N, width, ceil(H / patch), ceil(W / patch)]`` per level."""
        if image.ndim != 4 or image.shape[1] not in (1, 3):
            raise InputError(f"the encoder needs images [N, 1 or 3, H, W]; got {tuple(image.shape)}")
        image = image.to(self.mean)
        patch = self.transformer.patch
        size = [patches_for(side, patch) * patch for side in image.shape[-2:]]
        if size != list(image.shape[-2:]):
            image = F.interpolate(image, size, mode="bilinear", align_corners=False)
        if self.input_scale == "imagenet":
            image = (image - self.mean) / self.deviation
        return [level.float() for level in self.transformer(image.expand(-1, 3, -1, -1))]


def encode_slices(
    encoder: Encoder, slices: torch.Tensor, *, side: int = 252, grid: int | None = None, batch: int = 1
) -> Steps[torch.Tensor]:
    """Features of ``slices`` ``[Z, C, H, W]`` (float, in the scale of the encoder), ``[Z, channels, h, w]`` float16 on the
    CPU: the first level of ``encoder``. One step per batch; nothing is kept for gradients.

    :param side: the longer side of a slice is resized to so many pixels, the shorter one in proportion.
    :param grid: features are resized (bilinear) so that the longer side has so many cells; None leaves them.
    """
    height, width = slices.shape[-2:]
    factor = side / max(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    device = next(encoder.parameters()).device
    found: torch.Tensor | None = None
    for start in range(0, len(slices), batch):
        part = slices[start : start + batch].to(device, torch.float32)
        with torch.inference_mode():
            part = F.interpolate(part, size, mode="bilinear", align_corners=False, antialias=factor < 1)
            level = encoder(part)[0]
            if grid is not None:
                cells = [max(1, round(grid * n / max(level.shape[-2:]))) for n in level.shape[-2:]]
                level = F.interpolate(level, cells, mode="bilinear", align_corners=False)
            level = level.to("cpu", torch.float16)
        if found is None:
            found = torch.empty(len(slices), *level.shape[1:], dtype=torch.float16)
        found[start : start + len(level)] = level
        yield Step(min(1.0, (start + batch) / len(slices)), f"Encoding slice {start + 1} of {len(slices)}")
    if found is None:
        raise InputError("there are no slices to encode")
    return found
