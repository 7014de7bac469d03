"""Vision transformer with the layers and tensor names of DINOv2 and DINOv3, on torch alone.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv 2010.11929; Oquab et al., "DINOv2", arXiv 2304.07193;
Darcet et al., "Vision Transformers Need Registers", arXiv 2309.16588; Siméoni et al., "DINOv3", arXiv 2508.10104. Parameters
have the names of DINOv2's published checkpoints, so that these load strictly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ..common.errors import InputError
from .encoder import AdaptedLinear, Encoder

PATCH = 14  # pixels, of DINOv2
GRID = 37  # patches along each side of the 518 px images that the position embeddings were trained on
_EPS, _ROTARY_EPS = 1e-6, 1e-5
_ROTARY_PERIOD = 100.0  # the longest one of DINOv3's rotary positions
# The published models without registers enlarge their position embeddings by the factor (n + 0.1) / 37 and not n / 37,
# which shifts them a little; their weights were evaluated so, and so they are used.
SCALE_OFFSET = 0.1


Turn = tuple[torch.Tensor, torch.Tensor]  # cosine and sine of the angles of each patch


class VisionTransformer(Encoder):
    """DINOv2's or DINOv3's vision transformer as an encoder: :class:`~.encoder.Encoder` for sides that are multiples of ``patch``.

    :param width: embedding dimension; :param depth: number of blocks; :param heads: attention heads.
    :param hidden: hidden dimension of the feed-forward layers.
    :param gated: SwiGLU feed-forward layers (ViT-g) instead of GELU.
    :param registers: number of register tokens, 0 or 4. Models with registers enlarge the position embeddings by size
        and with antialiasing, those without by factor and without, as published.
    :param patch: side of a patch in pixels.
    :param rotary: as in DINOv3, positions are no table that is added but turn queries and keys of the patches by angles that
        grow with the place (rotary position embeddings, Su et al. 2021): any size of image without resizing.
    :param levels: the blocks whose patch tokens come out, after the final norm; negative ones count from the end.
    """

    in_channels = 3

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        *,
        gated: bool = False,
        registers: int = 0,
        patch: int = PATCH,
        rotary: bool = False,
        levels: Sequence[int] = (-1,),
    ):
        super().__init__()
        self.levels = _block_numbers(levels, depth)
        self.channels = (width,) * len(self.levels)
        self.strides = (patch,) * len(self.levels)
        self.width, self.heads = width, heads
        self.registers, self.patch, self.rotary = registers, patch, rotary
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        if not rotary:
            self.pos_embed = nn.Parameter(torch.zeros(1, 1 + GRID * GRID, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # only training uses it, but the checkpoints hold it
        if registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, registers, width))
        eps = _ROTARY_EPS if rotary else _EPS
        self.patch_embed = PatchEmbedding(width, patch)
        self.blocks = nn.ModuleList(Block(width, heads, hidden, gated, eps) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """``image`` ``[N, 3, H, W]``, normalised with the ImageNet statistics, to one ``[N, width, H / patch, W / patch]``
        per level. Raises InputError if a side is not a multiple of ``patch``."""
        rows, columns = self._patches(image)
        levels = self.tokens(image)
        first = 1 + self.registers
        return [t[:, first:].transpose(1, 2).unflatten(2, (rows, columns)) for t in levels]

    def tokens(self, image: torch.Tensor) -> list[torch.Tensor]:
        """All tokens of each level after the final norm, ``[N, 1 + registers + patches, width]``: class token,
        registers, patches row by row."""
        rows, columns = self._patches(image)
        x = self.patch_embed(image.to(self.patch_embed.proj.weight.dtype))
        turn = self.rotation(rows, columns) if self.rotary else None
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1)
        if not self.rotary:
            x = x + self.position_embedding(rows, columns)
        if self.registers:  # they have no place in the image, so they come in after the positions
            x = torch.cat((x[:, :1], self.register_tokens.expand(len(x), -1, -1), x[:, 1:]), 1)
        found = {}
        for number, block in enumerate(self.blocks[: max(self.levels) + 1]):
            x = block(x, turn)
            if number in self.levels:
                found[number] = self.norm(x)
        return [found[number] for number in self.levels]

    def position_embedding(self, rows: int, columns: int) -> torch.Tensor:
        """Position embeddings of the class token and ``rows`` x ``columns`` patches, ``[1, 1 + rows * columns, width]``."""
        if rows == columns == GRID:
            return self.pos_embed
        table = self.pos_embed[:, 1:].float().unflatten(1, (GRID, GRID)).permute(0, 3, 1, 2)
        if self.registers:
            table = F.interpolate(table, (rows, columns), mode="bicubic", antialias=True)
        else:
            factors = ((rows + SCALE_OFFSET) / GRID, (columns + SCALE_OFFSET) / GRID)
            table = F.interpolate(table, scale_factor=factors, mode="bicubic")
        patches = table.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)
        return torch.cat((self.pos_embed[:, :1], patches), 1)

    def rotation(self, rows: int, columns: int) -> Turn:
        """Cosine and sine of the angles by which the patches are turned, each ``[rows * columns, width / heads]``. The middle of a
        patch lies from -1 to 1 along each side; half of the angles are of its row, half of its column."""
        size, device = self.width // self.heads, self.cls_token.device
        periods = _ROTARY_PERIOD ** (torch.arange(size // 4, device=device) * 4 / size)
        sides = [(torch.arange(n, device=device) + 0.5) / n * 2 - 1 for n in (rows, columns)]
        places = torch.stack(torch.meshgrid(*sides, indexing="ij"), -1).flatten(0, 1)
        angles = (2 * math.pi * places[:, :, None] / periods).flatten(1).tile(2)
        return angles.cos(), angles.sin()

    def use_precision(self, dtype: torch.dtype) -> VisionTransformer:
        """Holds the weights of all linear layers in ``dtype`` (bfloat16: half the memory, and fast where the machine
        computes in it); norms, positions and the sum along the blocks stay float32. Returns itself."""
        for block in self.blocks:
            for layer in (block.attn, block.mlp):
                layer.to(dtype)
        return self

    def initialize(self, generator: torch.Generator) -> VisionTransformer:
        """Draws all weights from ``generator`` (normal, 0.02; norms and scales near 1). For tests and benchmarks: a
        transformer needs published or trained weights to be of use. Returns itself."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                centre = 1.0 if ("norm" in name and name.endswith("weight")) or name.endswith("gamma") else 0.0
                parameter.normal_(centre, 0.02, generator=generator)
        return self

    def _patches(self, image: torch.Tensor) -> tuple[int, int]:
        patch = self.patch
        if image.ndim != 4 or image.shape[1] != 3:
            raise InputError(f"the encoder needs images [N, 3, H, W]; got {tuple(image.shape)}")
        height, width = image.shape[-2:]
        if height < patch or width < patch or height % patch or width % patch:
            raise InputError(
                f"the encoder needs sides that are multiples of {patch} pixels; got {height} x {width}. Resize the image, "
                f"e.g. to {_multiple(height, patch)} x {_multiple(width, patch)}"
            )
        return height // patch, width // patch


class PatchEmbedding(nn.Module):
    """Each patch of pixels as one token."""

    def __init__(self, width: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.proj(image).flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Attention and a feed-forward layer, each normalised before and scaled after, both added to their input."""

    def __init__(self, width: int, heads: int, hidden: int, gated: bool, eps: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = SelfAttention(width, heads)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = GatedFeedForward(width, hidden) if gated else FeedForward(width, hidden)
        self.ls2 = LayerScale(width)

    def forward(self, x: torch.Tensor, turn: Turn | None) -> torch.Tensor:
        x = x + self.ls1(self.attn(self.norm1(x), turn))
        return x + self.ls2(self.mlp(self.norm2(x)))


class SelfAttention(nn.Module):
    """Multi-head attention in the memory-saving form of torch (no attention matrix is kept)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, turn: Turn | None) -> torch.Tensor:
        x = x.to(_weight(self.proj).dtype)
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if turn is not None:
            query, key = _turned(query, turn), _turned(key, turn)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x.to(_weight(self.fc2).dtype))))


class GatedFeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): SiLU of the first half of the hidden values times the second half."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = self.w12(x.to(_weight(self.w3).dtype)).chunk(2, -1)
        return self.w3(F.silu(gate) * value)


class LayerScale(nn.Module):
    """One learned factor per channel."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gamma


def _weight(linear: nn.Linear | AdaptedLinear) -> torch.Tensor:
    """The weight of a linear layer, also of one with an adapter."""
    own = linear.base if isinstance(linear, AdaptedLinear) else linear
    return own.weight


def _turned(vectors: torch.Tensor, turn: Turn) -> torch.Tensor:
    """``vectors`` ``[N, heads, tokens, size]`` with those of the patches, which come last, turned: number n together with number
    n + size / 2."""
    cosine, sine = (part.to(vectors.dtype) for part in turn)
    first = vectors.shape[2] - len(cosine)
    patches = vectors[:, :, first:]
    one, other = patches.chunk(2, -1)
    patches = patches * cosine + torch.cat((-other, one), -1) * sine
    return torch.cat((vectors[:, :, :first], patches), 2)


def _multiple(side: int, patch: int) -> int:
    return max(1, round(side / patch)) * patch


def _block_numbers(levels: Sequence[int], depth: int) -> tuple[int, ...]:
    numbers = tuple(level + depth if level < 0 else level for level in levels)
    if not numbers or not all(0 <= number < depth for number in numbers):
        raise InputError(f"levels are {tuple(levels)}; name blocks from 0 to {depth - 1}, or -1 for the last one")
    return numbers


def is_native_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` computes in bfloat16 itself, so that it saves time; elsewhere it would be imitated, slowly."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    abilities: dict = getattr(torch.cpu, "get_capabilities", dict)()
    if abilities:
        return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16") or abilities.get("sve_bf16"))
    try:  # torch before 2.10 does not say; Linux does
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags.split()


def patches_for(side_px: float, patch: int = PATCH) -> int:
    """The whole number of patches that covers ``side_px`` pixels."""
    return max(1, math.ceil(side_px / patch))
