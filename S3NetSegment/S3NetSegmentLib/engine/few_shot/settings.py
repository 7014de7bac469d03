"""Settings of Few-shot: every number that a user or a researcher may change, with its range, in one flat record."""

from __future__ import annotations

from dataclasses import dataclass

from ..common.errors import InputError
from ..common.settings_record import SettingsRecord, setting


@dataclass(frozen=True)
class FewShotSettings(SettingsRecord):
    """All settings of Few-shot. The defaults are the best measured recipe that needs no pretrained weights."""

    seed: int = setting(0, "Random seed. Same image, drawing and seed: same labels.", 0, 2**31 - 1)
    method: str = setting(
        "default",
        "default: carried masks, GrowCut and, with an encoder, its prototypes vote; alpnet: the prototypes alone "
        "(needs an encoder).",
        choices=("default", "alpnet"),
    )
    target: str = setting(
        "auto",
        "Kind of target: compact (organs and lesions that reach from slice to slice; drawn masks are carried), scattered "
        "(many small parts or tissue; nothing is carried), auto (from the drawn slices).",
        choices=("auto", "compact", "scattered"),
    )
    work_voxels: int = setting(300_000, "Voxels of the grid on which drawn masks are carried.", 20_000, 20_000_000)
    grow_voxels: int = setting(
        9_000_000, "Voxels above which GrowCut works on a coarser grid than the image.", 50_000, 200_000_000
    )
    margin: float = setting(0.6, "Margin of the region worked on, as a share of the drawn size.", 0.1, 10.0)
    growing: int = setting(3, "How often that region may grow when the answer reaches its border.", 0, 10)
    # Carrying
    appearance_weight: float = setting(
        0.05, "Weight of the appearance at each step from slice to slice (0: registration alone).", 0.0, 1.0
    )
    appearance_steps: int = setting(250, "Training steps of the appearance network.", 20, 5000)
    # Voting
    leave_one_out: bool = setting(
        True,
        "Whether from two drawn slices on the vote is weighted by how well each part predicts a hidden drawn slice.",
    )
    softness: float = setting(20.0, "How sharply the vote follows those scores.", 0.0, 200.0)
    regrow: float = setting(0.3, "Weight of the second GrowCut from the voxels that the vote is sure of.", 0.0, 0.9)
    sure: float = setting(0.8, "Probability above which a voxel seeds the second GrowCut.", 0.5, 0.999)
    # Ends
    presence: float = setting(
        1.0,
        "How strongly a segment is taken to end where the image speaks against it (0: never ends by itself).",
        0.0,
        5.0,
    )
    partial_ring: float = setting(
        4.0,
        "Millimetres (one pixel, if that is larger) around a partial drawing that count as drawn background; 0: none.",
        0.0,
        100.0,
    )
    # Encoder
    encoder_side: int = setting(
        252, "Pixels of the longer side of the slices that a pretrained encoder sees.", 56, 1022
    )
    encoder_grid: int = setting(32, "Cells of the grid of its features along that side.", 8, 128)
    encoder_view: str = setting(
        "body", "What of a slice the encoder sees: body (what is brighter than air) or slice (all of it, as published).",
        choices=("body", "slice"),
    )  # fmt: skip
    encoder_slices: str = setting(
        "one",
        "What DINOv2 sees in its three colours: one (the slice, three times) or three (the slice below, the slice, the one above; an "
        "option of the published program). An encoder that was trained here sees one.",
        choices=("one", "three"),
    )
    encoder_input: str = setting(
        "encoder",
        "Scale of the intensities that DINOv2 sees: encoder (its own, that of ImageNet) or zscore (mean 0 and deviation 1 over the "
        "volume, as published). An encoder that was trained here keeps the scale of its training.",
        choices=("encoder", "zscore"),
    )
    # Prototypes
    prototypes: str = setting(
        "chosen",
        "How prototypes are made and compared: chosen (window and temperature by leaving drawn slices out; near ones count more) "
        "or published (the arithmetic of ALPNet, with the settings below).",
        choices=("chosen", "published"),
    )
    prototype_window: int = setting(2, "Published prototypes: side of the windows, cells.", 1, 32)
    prototype_threshold: float = setting(
        0.95, "Published prototypes: least share of a window that a class covers.", 0.0, 1.0
    )
    prototype_temperature: float = setting(20.0, "Published prototypes: factor of the cosine similarity.", 0.1, 1000.0)
    foreground: str = setting(
        "gridconv+",
        "Published prototypes of a segment: mask (one mean), gridconv (windows), gridconv+ (both).",
        choices=("mask", "gridconv", "gridconv+"),
    )
    background: str = setting("gridconv", "The same for what is not drawn.", choices=("mask", "gridconv", "gridconv+"))
    shots: str = setting(
        "max",
        "Published prototypes of several drawn slices: max (the best score of a segment over slices) or pooled (all in one pool).",
        choices=("max", "pooled"),
    )
    slice_smoothing: float = setting(
        4.0, "Millimetres by which scores are smoothed across slices where prototypes answer alone; 0: not.", 0.0, 100.0
    )
    largest_component: bool = setting(
        False,
        "Whether of each segment only one connected part is kept in each slice that is not drawn: that with the largest sum of "
        "probabilities (CCA). For segments that are one part in every slice.",
    )
    test_time_steps: int = setting(
        0,
        "Steps in which the encoder is trained on each slice and what was found in it, before the slice is answered again (TTT; the "
        "published program takes 100). A step costs several times as much as encoding the slice. 0: none.",
        0,
        10_000,
    )


PRESETS = ("default", "published")


def few_shot_preset(name: str) -> FewShotSettings:
    """Settings by name. ``default``: the best measured recipe. ``published``: ALPNet's prototypes alone, as the released program of
    DINOv2 with ALPNet computes them."""
    if name == "default":
        return FewShotSettings()
    if name == "published":
        return FewShotSettings(
            method="alpnet", prototypes="published", encoder_view="slice", encoder_input="zscore", slice_smoothing=0.0,
            largest_component=True,
        )  # fmt: skip
    raise InputError(f"preset is {name!r}; it must be default or published")
