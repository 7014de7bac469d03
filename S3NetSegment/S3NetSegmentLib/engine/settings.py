"""Settings of Segment: every number that a user or a researcher may change, with its range, in one flat record.

``--set name=value`` on the command line, the advanced section of the panel and the provenance tags all work from these
fields; a field's ``metadata`` holds its help text and its allowed range or choices.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, fields

from .errors import InputError


def _setting(default, help_text: str, low=None, high=None, choices=None):
    return field(default=default, metadata={"help": help_text, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class SegmentSettings:
    """All settings of Segment. The defaults are the ``default`` preset, the best measured recipe; see :func:`preset`."""

    seed: int = _setting(0, "Random seed. Same image, seed and device: same labels.", 0, 2**31 - 1)
    sources: str = _setting(
        "auto",
        "Where regions come from: all (k-means, graph regions and S3-Net), classical (no network), s3net (the network "
        "alone), auto (all for colour images, classical for grey ones, where the network was measured to add nothing).",
        choices=("auto", "all", "classical", "s3net"),
    )
    region_counts: tuple[int, ...] = _setting(
        (2, 3, 4, 5, 6, 8), "Numbers of regions to prepare (2 to 16 each).", 2, 16
    )
    work_size: int = _setting(256, "Longest side of a slice, in pixels, on which regions are searched.", 32, 1024)
    # S3-Net: network
    fit_size: int = _setting(48, "Longest side of a slice, in pixels, on which S3-Net is fitted.", 16, 512)
    context_channels: bool = _setting(
        True, "Whether S3-Net also sees the blurred image and its gradient, next to the intensities."
    )
    fit_blur: float = _setting(
        1.5, "Blur of the image whose clusters S3-Net learns, in pixels of the fit; also its blurred channel.", 0.0, 8.0
    )
    channels: int = _setting(16, "Channels of S3-Net.", 4, 128)
    blocks: int = _setting(2, "Number of I-LKA attention blocks.", 0, 6)
    attention: bool = _setting(True, "Inception large-kernel attention; off: plain 3x3 convolutions.")
    deformable: bool = _setting(False, "Modulated deformable convolution with offsets predicted from the input.")
    deformable_reach: float = _setting(4.0, "Largest offset of the deformable convolution, in pixels.", 0.5, 16.0)
    # S3-Net: fitting
    start: str = _setting(
        "kmeans", "First labels: kmeans (distilled into the network) or random.", choices=("kmeans", "random")
    )
    prototypes: str = _setting(
        "auto",
        "Whether the network starts at the k-means rule instead of random heads (only with start=kmeans and "
        "context_channels): on, off, auto (on for grey images).",
        choices=("auto", "on", "off"),
    )
    steps: int = _setting(12, "Steps that distil the first labels into the network.", 0, 1000)
    self_training_steps: int = _setting(0, "Steps of self-training on the network's own labels after that.", 0, 1000)
    restarts: int = _setting(2, "Networks fitted from different random weights and averaged.", 1, 8)
    learning_rate: float = _setting(0.1, "Learning rate of SGD (momentum 0.9).", 1e-4, 2.0)
    clustering_weight: float = _setting(
        1.0, "Weight of the clustering loss (cross-entropy to the current labels).", 0.0, 10.0
    )
    anchor_weight: float = _setting(1.0, "Weight that holds self-training to the first labels.", 0.0, 10.0)
    affine_weight: float = _setting(1.0, "Weight of the consistency over affine transformation.", 0.0, 10.0)
    spatial_weight: float = _setting(0.5, "Weight of the edge-aware spatial consistency.", 0.0, 10.0)
    entropy_weight: float = _setting(
        1.0, "Weight of the one-sided entropy floor (random start and self-training).", 0.0, 10.0
    )
    entropy_floor: float = _setting(0.5, "Entropy floor, as a share of the entropy of equal regions.", 0.0, 1.0)
    edge_contrast: float = _setting(
        0.3, "Contrast (in standard deviations) at which spatial consistency halts.", 0.01, 10.0
    )
    rotation: float = _setting(180.0, "Largest rotation of the random affine transformation, degrees.", 0.0, 180.0)
    scaling: float = _setting(0.2, "Largest scaling of the random affine transformation (0.2: 0.82 to 1.22).", 0.0, 0.7)
    shear: float = _setting(0.15, "Largest shear of the random affine transformation.", 0.0, 0.5)
    shift: float = _setting(
        0.1, "Largest shift of the random affine transformation, as a share of half the image.", 0.0, 0.5
    )
    flip: bool = _setting(True, "Whether the random affine transformation may mirror the image.")
    fit_slices: int = _setting(8, "Slices of a volume in each fitting step (one shared network for all slices).", 1, 64)
    guided_radius: int = _setting(
        4, "Radius of the guided filter that brings soft labels to full resolution, pixels.", 0, 32
    )
    guided_smoothness: float = _setting(
        0.01, "Squared contrast (in standard deviations) that the guided filter takes for flat.", 1e-6, 10.0
    )

    def __post_init__(self):
        for f in fields(self):
            object.__setattr__(self, f.name, _checked(f, getattr(self, f.name)))

    def with_texts(self, assignments: list[str]) -> SegmentSettings:
        """A copy with ``name=value`` texts applied. Raises InputError for unknown names and values out of range."""
        known = {f.name: f for f in fields(self)}
        changes = {}
        for text in assignments:
            name, equals, value = text.partition("=")
            name = name.strip().replace("-", "_")
            if not equals or name not in known:
                raise InputError(
                    f"setting {text!r} is not understood; write name=value with a name of: {', '.join(known)}"
                )
            changes[name] = _parsed(known[name], value.strip())
        return dataclasses.replace(self, **changes)

    def changed(self) -> dict:
        """The settings that differ from the defaults, as name -> value (for provenance)."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


def preset(name: str) -> SegmentSettings:
    """Settings by name. ``default``: the best measured recipe. ``paper``: S3-Net as published (256 px, 64 channels,
    deformable convolution, random start, self-training), with its defects cured: the affine transformation acts on the
    input, the spatial loss has a gradient, offsets are predicted, seeds are fixed, labels do not collapse."""
    if name == "default":
        return SegmentSettings()
    if name == "paper":
        return SegmentSettings(
            sources="s3net", fit_size=256, context_channels=False, channels=64, deformable=True, start="random", steps=0, self_training_steps=50,
            restarts=1, learning_rate=0.2, clustering_weight=3.5, affine_weight=0.2, spatial_weight=4.0, guided_radius=0,
        )  # fmt: skip
    raise InputError(f"preset is {name!r}; it must be default or paper")


def _checked(f, value):
    """``value`` if it is right for field ``f``; raises InputError otherwise."""
    low, high, choices = f.metadata["low"], f.metadata["high"], f.metadata["choices"]
    if choices is not None:
        if value not in choices:
            raise InputError(f"setting {f.name} is {value!r}; it must be one of {', '.join(choices)}")
        return value
    if isinstance(f.default, bool):
        if not isinstance(value, bool):
            raise InputError(f"setting {f.name} is {value!r}; it must be true or false")
        return value
    if isinstance(f.default, tuple):
        values = tuple(sorted({int(v) for v in value}))
        if not values or not all(low <= v <= high for v in values):
            raise InputError(f"setting {f.name} is {value!r}; give whole numbers from {low} to {high}, e.g. 2,4,8")
        return values
    whole = isinstance(f.default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
        raise InputError(
            f"setting {f.name} is {value!r}; it must be a {'whole ' if whole else ''}number from {low:g} to {high:g}"
        )
    return value if whole else float(value)


def _parsed(f, text: str):
    """``text`` as a value of field ``f``'s type; the range is checked later."""
    try:
        if isinstance(f.default, bool):
            return {
                "true": True,
                "on": True,
                "1": True,
                "yes": True,
                "false": False,
                "off": False,
                "0": False,
                "no": False,
            }[text.lower()]
        if isinstance(f.default, tuple):
            return tuple(int(v) for v in text.split(","))
        return type(f.default)(text)
    except (ValueError, KeyError):
        raise InputError(f"setting {f.name} is {text!r}; {f.metadata['help']}") from None
