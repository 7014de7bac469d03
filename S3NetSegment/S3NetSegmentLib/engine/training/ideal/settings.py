"""Settings of IDEAL's pre-training."""

from __future__ import annotations

from dataclasses import dataclass

from ...common.errors import InputError
from ...common.settings_record import SettingsRecord, setting


@dataclass(frozen=True)
class PretrainingSettings(SettingsRecord):
    """Settings of the pre-training; see :func:`pretraining_preset`."""

    network: str = setting(
        "unet", "Size of the U-Net: unet (1.8 million weights) or tiny (0.12).", choices=("unet", "tiny")
    )
    normalization: str = setting("batch", "Normalisation layers.", choices=("batch", "group"))
    level: int = setting(-1, "Level of the encoder that is contrasted: 0 the finest; -1, -2: from the coarsest.", -5, 4)
    decoder_weight: float = setting(
        0.0,
        "Weight of the same contrast in both decoders; above 0 they are trained and kept with the encoder.",
        0.0,
        10.0,
    )
    decoder_level: int = setting(
        1, "Level of the decoders that is contrasted, 0 the finest; finer ones learn nothing.", 0, 3
    )
    global_weight: float = setting(
        0.0, "Part of the loss for the contrast of whole slices instead of cells (DenseCL: 0.5).", 0.0, 1.0
    )
    match: str = setting(
        "affine",
        "Where the positive lies: affine (the exact place) or feature (the most similar cell).",
        choices=("affine", "feature"),
    )
    head_layers: int = setting(2, "Convolutions of the projection head.", 1, 2)
    embedding: int = setting(128, "Channels of the projection.", 8, 1024)
    temperature: float = setting(0.2, "Temperature of the contrast.", 0.01, 2.0)
    neighbourhood: float = setting(1.5, "Cells around the positive that are not negatives.", 0.0, 16.0)
    negatives_from: str = setting(
        "batch",
        "Whose cells are negatives: those of the batch's slices, or of the same slice alone (other slices show the same "
        "anatomy).",
        choices=("batch", "slice"),
    )
    same_height: float = setting(
        0.0,
        "Slices whose relative heights differ by less are not negatives of each other at the same place (0: all are); with "
        "negatives_from=slice it concerns the contrast of whole slices only.",
        0.0,
        1.0,
    )
    queries: int = setting(1024, "Largest number of cells that are asked in a step.", 1, 1_000_000)
    negatives: int = setting(8192, "Largest number of cells that a cell is contrasted to.", 1, 1_000_000)
    symmetric: bool = setting(False, "Whether each view is asked for the other, at twice the cost.")
    momentum: float = setting(0.99, "Decay of the key encoder's moving average at the start.", 0.0, 1.0)
    last_momentum: float = setting(0.999, "The same at the end of the run.", 0.0, 1.0)
    init_from: str = setting(
        "query",
        "Weights that the model keeps and fine-tuning starts from: query, or key (their moving average).",
        choices=("query", "key"),
    )
    rotation: float = setting(30.0, "Largest random rotation, degrees.", 0.0, 180.0)
    scaling: float = setting(0.22, "Largest logarithm of the random scaling (0.22: 0.8 to 1.25).", 0.0, 0.7)
    shear: float = setting(0.1, "Largest random shear.", 0.0, 0.5)
    shift: float = setting(0.15, "Largest random shift, as a share of half the image.", 0.0, 0.5)
    flip: bool = setting(True, "Whether views may be mirrored at random.")


def pretraining_preset(name: str) -> PretrainingSettings:
    """Settings by name. ``default``: the U-Net of 1.8 million weights, with positives at the exact place. ``paper``: as the paper
    draws it, with the constants of DenseCL where it gives none: one convolution as head, the positive is the most similar cell,
    a slow key branch. ``tiny``: for
    a CPU, as measured best: a key branch that follows faster since its runs are short, negatives of the same slice alone (as
    in Chaitanya et al.), and views as far turned as those of fine-tuning."""
    if name == "default":
        return PretrainingSettings()
    if name == "tiny":
        return PretrainingSettings(
            network="tiny", embedding=64, momentum=0.9, last_momentum=0.99, negatives_from="slice", rotation=90.0
        )
    if name == "paper":
        return PretrainingSettings(
            match="feature", head_layers=1, momentum=0.999, last_momentum=0.999, neighbourhood=0.0
        )
    raise InputError(f"preset is {name!r}; it must be default, paper or tiny")


@dataclass(frozen=True)
class FinetuningSettings(SettingsRecord):
    """Settings of the fine-tuning; see :func:`finetuning_preset`. The defaults are the preset ``plus``."""

    network: str = setting(
        "unet", "Size of the U-Net: unet (1.8 million weights) or tiny (0.12).", choices=("unet", "tiny")
    )
    normalization: str = setting("batch", "Normalisation layers.", choices=("batch", "group"))
    dropout: bool = setting(True, "Dropout in the encoder.")
    streams: str = setting(
        "decoders",
        "What is doubled: decoders (one encoder serves both), or models (two whole networks, at twice the cost).",
        choices=("decoders", "models"),
    )
    unlabelled_weight: float = setting(1.0, "Weight of the unlabelled slices; 0: labelled slices alone.", 0.0, 100.0)
    ramp_share: float = setting(0.0, "Part of the run in which that weight rises.", 0.0, 1.0)
    views: str = setting(
        "strong",
        "What learns from pseudo-labels: same (the view that they come from) or strong (a strongly changed copy of it).",
        choices=("same", "strong"),
    )
    teacher: str = setting(
        "average",
        "Who gives the pseudo-labels: network, or average (the moving average of its weights).",
        choices=("network", "average"),
    )
    threshold: float = setting(0.7, "Least probability of a pseudo-label that counts.", 0.0, 1.0)
    trust: bool = setting(
        True,
        "Whether pseudo-labels count only as far as the teacher finds their class on labelled slices. As it does, unlabelled "
        "slices take the place of labelled ones; else they come on top.",
    )
    pseudo_dice: bool = setting(
        True, "Whether pseudo-labels are learnt with Dice and cross-entropy, or the latter alone."
    )
    mix: str = setting(
        "both",
        "Boxes of other slices pasted into the strong view: off, unlabelled, or both (labelled ones too).",
        choices=("off", "unlabelled", "both"),
    )
    box_share: float = setting(0.5, "Largest part of a slice that a box covers.", 0.05, 0.9)
    channel_dropout: bool = setting(
        False, "Whether the streams see complementary halves of the features of strong views."
    )
    encoder_rate: float = setting(
        1.0, "Factor of the learning rate of a pre-trained encoder (of a random one it is 1).", 0.0, 1.0
    )
    average_decay: float = setting(0.99, "Decay of the moving average of the weights.", 0.0, 0.9999)
    weak_intensities: bool = setting(
        True,
        "Whether intensities of all slices are changed a little at random; those of strong views are changed more, in any case.",
    )
    rotation: float = setting(90.0, "Largest random rotation, degrees.", 0.0, 180.0)
    rotation_steps: int = setting(
        600, "Steps in which rotations widen from none to the largest: upright slices are learnt first.", 0, 1_000_000
    )
    scaling: float = setting(0.2, "Largest logarithm of the random scaling.", 0.0, 0.7)
    shear: float = setting(0.1, "Largest random shear.", 0.0, 0.5)
    shift: float = setting(0.15, "Largest random shift, as a share of half the image.", 0.0, 0.5)
    flip: bool = setting(False, "Whether slices may be mirrored at random.")
    spatial_weight: float = setting(
        0.0, "Weight of the edge-aware spatial consistency of unlabelled slices.", 0.0, 10.0
    )


def finetuning_preset(name: str) -> FinetuningSettings:
    """Settings by name. ``plus``: the best measured recipe. ``tiny``: the same with a small network, for a CPU. ``paper``:
    cross pseudo supervision as published, with the constants of SSL4MIS where the paper gives none (weight 0.1 that rises
    over the whole run, every pseudo-label counts, turns and mirroring alone, no average of weights)."""
    if name == "plus":
        return FinetuningSettings()
    if name == "tiny":
        return FinetuningSettings(network="tiny")
    if name == "paper":
        return FinetuningSettings(
            unlabelled_weight=0.1, ramp_share=1.0, views="same", teacher="network", threshold=0.0, pseudo_dice=False,
            trust=False, mix="off", average_decay=0.0, weak_intensities=False, rotation=20.0, rotation_steps=0, scaling=0.0, shear=0.0, shift=0.0, flip=True,
        )  # fmt: skip
    raise InputError(f"preset is {name!r}; it must be plus, tiny or paper")
