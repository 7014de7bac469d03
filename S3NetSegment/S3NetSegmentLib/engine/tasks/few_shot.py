"""``FewShotTask``: what is asked of Few-shot for one image and files of drawings."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..common.errors import InputError
from ..few_shot.settings import PRESETS, FewShotSettings, few_shot_preset
from . import forms
from .drawn_numbers import ALL
from .fields import asked

DRAWING, FEW_SHOT_PART, _HOW = (
    "what is drawn (repeat --support for several drawings)",
    "which part of the image, and further results",
    "how",
)


@dataclass(frozen=True)
class SupportFile:
    """One drawing as the user names it.

    :param labels: path of the labels.
    :param image: path of the image that they belong to; None: the image that is segmented.
    :param drawn: drawn slices named by the user, or "all"; None: those that hold labels.
    :param names: path of a file with names for the values of a plain label map, see :mod:`~..images.label_names`.
    :param is_boxes: whether it is no file but stands for boxes.
    """

    labels: str
    image: str | None = None
    drawn: tuple[int, ...] | str | None = None
    names: str | None = None
    is_boxes: bool = False

    @property
    def shown(self) -> str:
        return self.labels if self.is_boxes else repr(os.path.basename(self.labels))


@dataclass(frozen=True)
class FewShotTask:
    """What is asked of one image.

    :param support, support_image, drawn: for each drawing its labels, its image (None: the one that is segmented) and its
        drawn slices ("all": every one, None: those with labels); equally long.
    """

    # The command line makes the first three itself, since each belongs to the --support before it.
    support: tuple[str, ...] = asked(
        (), "the drawing; several files separated by ';'", forms.Form(forms.texts, is_path=True), option=""
    )
    support_image: tuple[str | None, ...] = asked(
        (), "the image that the drawing belongs to, if it is another one", forms.Form(forms.optional_texts, is_path=True), option=""
    )  # fmt: skip
    drawn: tuple[tuple[int, ...] | str | None, ...] = asked(
        (), "the drawn slices: numbers and ranges, 12,30-33, or all (also the empty ones); without it those that hold labels; "
        "one entry for each drawing, separated by ';'", forms.Form(forms.drawn_slices), option="",
    )  # fmt: skip
    support_boxes: tuple[tuple[str, tuple[int, ...]], ...] = asked(
        (), "a box around a segment in a slice in place of a drawing, with the segment's name: two corners as voxels, both included; what "
        "it holds is found there and counts as drawn. For every segment and slice that you mean; boxes inside boxes become rings",
        forms.NAMED_BOXES, option="--box", group=DRAWING,
    )  # fmt: skip
    labels: str | None = asked(
        None, "names of the values of drawings that are plain label maps: lines VALUE,NAME[,R,G,B] (CSV), a .ctbl of Slicer, a "
        "label file of ITK-SNAP, or JSON", forms.PATH, group=DRAWING,
    )  # fmt: skip
    segments: tuple[str, ...] = asked((), "only these segments of the drawing", forms.NAMES, group=DRAWING)
    partial: bool = asked(
        False, "only what lies near the drawing is background on a drawn slice", forms.SWITCH, group=DRAWING
    )
    axis: str = asked(
        "auto", "the axis across the slices; auto (the default) takes the one along which the fewest hold labels", forms.AXIS,
        group=DRAWING,
    )  # fmt: skip
    slices: tuple[int, int] | None = asked(
        None, "only slices A to B, both included, or one slice K, counted from 0", forms.SLICES, group=FEW_SHOT_PART
    )
    preset: str = asked(
        "default", "default: the best measured recipe. published: prototypes of DINOv2 alone (ALPNet), as near to the published program "
        "as can be", forms.choice(*PRESETS), column="", group=_HOW,
    )  # fmt: skip
    method: str | None = asked(
        None, "default: drawn masks are carried, corrected and voted on; alpnet: prototypes of an encoder alone",
        forms.choice("default", "alpnet"), column="", group=_HOW,
    )  # fmt: skip
    encoder: str = asked(
        "auto", "pretrained features: auto (the default) takes DINOv2 weights if 's3net weights' has put some here, default "
        "takes none, else dinov2-... or a file", dataclasses.replace(forms.TEXT, metavar="NAME|FILE"), group=_HOW,
    )  # fmt: skip
    settings: tuple[str, ...] = asked(
        (), "change a setting, e.g. target=scattered; may be repeated. 's3net settings' lists them all", forms.SETTINGS,
        option="--set", group=forms.COMPUTING,
    )  # fmt: skip
    seed: int | None = asked(
        None, "random seed; same image, seed and device: same result", forms.SEED, group=forms.COMPUTING
    )

    def __post_init__(self):
        for name in ("support_image", "drawn"):  # one entry serves all drawings
            given = getattr(self, name) or (None,)
            if len(given) == 1:
                object.__setattr__(self, name, given * len(self.support))

    @property
    def files(self) -> tuple[SupportFile, ...]:
        """The drawings."""
        drawings = zip(self.support, self.support_image, self.drawn, strict=True)
        return tuple(SupportFile(*drawing, names=self.labels) for drawing in drawings)

    @property
    def wants_prototypes(self) -> bool:
        """Whether ALPNet's prototypes are to answer alone."""
        try:
            return self.engine_settings().method == "alpnet"
        except InputError:  # which is reported where the settings are used
            return False

    def boxes_by_name(self) -> dict[str, list[tuple[int, ...]]]:
        """The boxes of each segment, in the order in which the segments are first named."""
        found: dict[str, list[tuple[int, ...]]] = {}
        for name, corners in self.support_boxes:
            found.setdefault(name, []).append(corners)
        return found

    def engine_settings(self) -> FewShotSettings:
        """The settings. InputError for what is wrong there."""
        settings = few_shot_preset(self.preset).with_texts(list(self.settings))
        given: dict[str, Any] = {"method": self.method, "seed": self.seed}
        return dataclasses.replace(settings, **{name: value for name, value in given.items() if value is not None})

    def contradictions(self, called: Callable[[str], str]) -> list[str]:
        """What cannot be asked together, one text each; see :meth:`SegmentTask.contradictions`."""
        wrong = []
        if not self.support and not self.support_boxes:
            wrong.append(
                f"{called('support')}: it is missing; name the file with the drawing, or give {called('support_boxes')}"
            )
        for name in ("support_image", "drawn"):
            if len(getattr(self, name)) != len(self.support):
                wrong.append(
                    f"{called(name)}: {len(getattr(self, name))} entries for {len(self.support)} drawings; write one for "
                    "each, separated by ';'"
                )
                return wrong
        if (ALL, None) in zip(self.drawn, self.support_image, strict=True):
            wrong.append(
                f"{called('drawn')}: all is for a drawing of another image ({called('support_image')}); with all slices of "
                "the image itself drawn nothing is left to find: leave it empty (the slices that hold labels), or name the "
                "drawn slices"
            )
        if self.wants_prototypes and self.encoder == "default":
            by_preset = self.method is None and self.preset == "published"
            asked = f"{called('preset')} published" if by_preset else f"{called('method')} alpnet"
            wrong.append(f"{asked} needs an encoder; name one, e.g. {called('encoder')} dinov2-vits14-reg4")
        return wrong
