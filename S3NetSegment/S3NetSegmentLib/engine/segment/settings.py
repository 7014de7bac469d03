"""Settings of Segment: every number that a user or a researcher may change, with its range, in one flat record."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..common.errors import InputError
from ..common.settings_record import SettingsRecord, setting


@dataclass(frozen=True)
class SegmentSettings(SettingsRecord):
    """All settings of Segment. The defaults are the ``default`` preset, the best measured recipe; see :func:`preset`."""

    seed: int = setting(0, "Random seed. Same image, seed and device: same labels.", 0, 2**31 - 1)
    sources: str = setting(
        "auto",
        "Where regions come from: all (k-means, graph regions and S3-Net), classical (no network), s3net (the network "
        "alone), auto (all for colour images, classical for grey ones, where the network was measured to add nothing).",
        choices=("auto", "all", "classical", "s3net"),
    )
    region_counts: tuple[int, ...] = setting((2, 3, 4, 5, 6, 8), "Numbers of regions to prepare (2 to 16 each).", 2, 16)
    work_size: int = setting(
        256, "Longest side of a slice of square pixels on which regions are searched, in pixels.", 32, 1024
    )
    # S3-Net: network
    fit_size: int = setting(48, "Longest side of a slice, in pixels, on which S3-Net is fitted.", 16, 512)
    context_channels: bool = setting(
        True, "Whether S3-Net also sees the blurred image and its gradient, next to the intensities."
    )
    fit_blur: float = setting(
        1.5, "Blur of the image whose clusters S3-Net learns, in pixels of the fit; also its blurred channel.", 0.0, 8.0
    )
    fit_input: str = setting(
        "standardised",
        "What S3-Net sees: standardised intensities in the shape of the slice, or plain ones from 0 to 1 (colour as BGR) in a "
        "square of fit_size pixels, as published.",
        choices=("standardised", "plain"),
    )
    channels: int = setting(16, "Channels of S3-Net.", 4, 128)
    blocks: int = setting(2, "Number of I-LKA attention blocks.", 0, 6)
    attention: bool = setting(True, "Inception large-kernel attention; off: plain 3x3 convolutions.")
    deformable: bool = setting(False, "Modulated deformable convolution with offsets predicted from the input.")
    deformable_reach: float = setting(4.0, "Largest offset of the deformable convolution, in pixels.", 0.5, 16.0)
    head: str = setting(
        "image",
        "What labels are read from: image (activated features and the image itself) or features (normalised features alone, "
        "as published).",
        choices=("image", "features"),
    )
    # S3-Net: fitting
    start: str = setting(
        "kmeans", "First labels: kmeans (distilled into the network) or random.", choices=("kmeans", "random")
    )
    prototypes: str = setting(
        "auto",
        "Whether the network starts at the k-means rule instead of random heads (only with start=kmeans and "
        "context_channels): on, off, auto (on for grey images).",
        choices=("auto", "on", "off"),
    )
    steps: int = setting(12, "Steps that distil the first labels into the network.", 0, 1000)
    self_training_steps: int = setting(0, "Steps of self-training on the network's own labels after that.", 0, 1000)
    stop_labels: int = setting(
        0,
        "Self-training ends, from its sixth step on, when so few labels are left, as published; 0: when labels stand still.",
        0,
        128,
    )
    restarts: int = setting(2, "Networks fitted from different random weights and averaged.", 1, 8)
    learning_rate: float = setting(0.1, "Learning rate of SGD (momentum 0.9).", 1e-4, 2.0)
    clustering_weight: float = setting(
        1.0, "Weight of the clustering loss (cross-entropy to the current labels).", 0.0, 10.0
    )
    anchor_weight: float = setting(1.0, "Weight that holds self-training to the first labels.", 0.0, 10.0)
    affine_weight: float = setting(1.0, "Weight of the consistency over affine transformation.", 0.0, 10.0)
    spatial_weight: float = setting(0.5, "Weight of the edge-aware spatial consistency.", 0.0, 10.0)
    entropy_weight: float = setting(
        1.0, "Weight of the one-sided entropy floor (random start and self-training).", 0.0, 10.0
    )
    entropy_floor: float = setting(0.5, "Entropy floor, as a share of the entropy of equal regions.", 0.0, 1.0)
    edge_contrast: float = setting(
        0.3, "Contrast (in standard deviations) at which spatial consistency halts.", 0.01, 10.0
    )
    transformation: str = setting(
        "random",
        "The affine transformation: random, within the ranges below, or quarter (a turn by 90 degrees, as published).",
        choices=("random", "quarter"),
    )
    consistency: str = setting(
        "divergence",
        "How labels of both views are compared: divergence (symmetric, of probabilities) or labels (cross-entropy to the most "
        "probable ones, as published).",
        choices=("divergence", "labels"),
    )
    rotation: float = setting(180.0, "Largest rotation of the random affine transformation, degrees.", 0.0, 180.0)
    scaling: float = setting(0.2, "Largest scaling of the random affine transformation (0.2: 0.82 to 1.22).", 0.0, 0.7)
    shear: float = setting(0.15, "Largest shear of the random affine transformation.", 0.0, 0.5)
    shift: float = setting(
        0.1, "Largest shift of the random affine transformation, as a share of half the image.", 0.0, 0.5
    )
    flip: bool = setting(True, "Whether the random affine transformation may mirror the image.")
    fit_slices: int = setting(8, "Slices of a volume in each fitting step (one shared network for all slices).", 1, 64)
    merging: str = setting(
        "shares",
        "How clusters of a random start become regions: shares (the probabilities of merged clusters add up) or labels (each "
        "pixel has its most probable cluster first; as published, where no more regions are asked for than clusters are left).",
        choices=("shares", "labels"),
    )
    guided_radius: int = setting(
        4, "Radius of the guided filter that brings soft labels to full resolution, pixels.", 0, 32
    )
    guided_smoothness: float = setting(
        0.01, "Squared contrast (in standard deviations) that the guided filter takes for flat.", 1e-6, 10.0
    )

    def of_the_network(self) -> list[str]:
        """Names of the changed settings that concern S3-Net only, so that they have no effect where it is not asked."""
        return [name for name in self.changed() if name not in _WITHOUT_NETWORK]


_WITHOUT_NETWORK = ("seed", "sources", "region_counts", "work_size")
PRESETS = ("default", "paper", "published")


def preset(name: str) -> SegmentSettings:
    """Settings by name. ``default``: the best measured recipe. ``paper``: S3-Net in the published size (256 px, 64 channels,
    deformable convolution, random start, self-training) with losses and a stop under which labels do not collapse.
    ``published``: as near to the published program as can be; only what could not have worked as meant is cured: the affine
    transformation acts on the input and on the head that answers, the spatial loss has a gradient, offsets are predicted,
    seeds are fixed."""
    if name == "default":
        return SegmentSettings()
    paper = SegmentSettings(
        sources="s3net", fit_size=256, context_channels=False, channels=64, deformable=True, start="random", steps=0, self_training_steps=50,
        restarts=1, learning_rate=0.2, clustering_weight=3.5, affine_weight=0.2, spatial_weight=4.0, guided_radius=0,
    )  # fmt: skip
    if name == "paper":
        return paper
    if name == "published":
        return dataclasses.replace(
            paper, fit_input="plain", head="features", stop_labels=3, transformation="quarter", consistency="labels",
            entropy_weight=0.0, edge_contrast=10.0, merging="labels",
        )  # fmt: skip
    raise InputError(f"preset is {name!r}; it must be default, paper or published")
