"""Settings of what is trained, and on what: the slices, the held-out cases, the batches, the encoder."""

from __future__ import annotations

from dataclasses import dataclass

from ..common.settings_record import SettingsRecord, setting

MOST_NEIGHBOURS = 8


@dataclass(frozen=True)
class CohortSettings(SettingsRecord):
    """How a cohort becomes slices, and which cases are held out where cohort.json does not list them."""

    slice_side: int = setting(256, "Largest side of a slice in pixels; smaller where no image needs it.", 16, 2048)
    slice_spacing: float = setting(
        0.0,
        "mm per pixel of a slice; 0: the images' own, made coarser only as far as the largest one needs to fit.",
        0.0,
        100.0,
    )
    slice_plane: str = setting(
        "auto", "Plane of the slices; auto: that in which most images were made.",
        choices=("auto", "axial", "coronal", "sagittal"),
    )  # fmt: skip
    neighbours: int = setting(
        0, "Slices at either side that the network sees, too, as further channels (2.5D).", 0, MOST_NEIGHBOURS
    )
    colour: str = setting(
        "auto", "What is seen of images in colour: auto (red, green and blue where all images are in colour), or their lightness.",
        choices=("auto", "lightness"),
    )  # fmt: skip
    validation: float = setting(
        0.2, "Part of the labelled patients that only chooses the best state (none below four patients).", 0.0, 0.9
    )
    test: float = setting(0.0, "Part of the labelled patients that training never sees.", 0.0, 0.9)
    folds: int = setting(
        0, "Parts of a cross-validation into which the labelled patients are divided, instead of the setting validation; 0: none.",
        0, 100,
    )  # fmt: skip
    fold: int = setting(0, "Which of them chooses the best state; the others are trained on. 1 is the first.", 0, 100)
    bank_megabytes: int = setting(
        2048, "Memory for slices; beyond it they are kept in a file of the run folder.", 1, 1_000_000
    )


@dataclass(frozen=True)
class BatchSettings(SettingsRecord):
    """Batches of slices without labels."""

    batch: int = setting(32, "Slices in a step.", 1, 4096)


@dataclass(frozen=True)
class TwoStreamBatchSettings(SettingsRecord):
    """Batches of labelled and unlabelled slices."""

    batch: int = setting(24, "Labelled slices in a step.", 1, 4096)
    unlabelled_batch: int = setting(
        12, "Unlabelled slices in a step; with the setting trust they take the place of labelled ones.", 1, 4096
    )


@dataclass(frozen=True)
class EncoderSettings(SettingsRecord):
    """Which encoder ALPNet trains, where none is given."""

    network: str = setting(
        "unet",
        "Size of the U-Net encoder: unet or tiny. A given encoder (DINOv2) is taken instead.",
        choices=("unet", "tiny"),
    )
    level: int = setting(
        -2, "Level of a U-Net encoder whose features are trained: 0 the finest; -1, -2: from the coarsest.", -5, 4
    )
    lora: int = setting(
        4,
        "Rank of the low-rank adapters of a given transformer, whose own weights stay frozen; 0: all are trained.",
        0,
        256,
    )
