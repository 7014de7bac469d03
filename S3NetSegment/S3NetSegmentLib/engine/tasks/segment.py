"""``SegmentTask``: what the user points at in an image, and what is found there; ``ApplyTask``: trained models for one image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..segment.settings import PRESETS, SegmentSettings, preset
from . import forms
from .fields import asked

DEFAULT_REGIONS = 4
_OBJECT, SEGMENT_PART, SEGMENT_RESULTS = (
    "which object (positions may be repeated, and several follow one option)",
    "which part of the image",
    "regions and further results",
)


@dataclass(frozen=True)
class SegmentTask:
    """What is asked of one image. Positions are RAS mm; pixels are (i, j, k), or (i, j) where there is one slice.

    A box is two opposite corners, both included; a stroke is the corners of a line.
    """

    points: tuple[tuple[float, ...], ...] = asked(
        (), "inside the object, patient mm (right, anterior, superior)", forms.POSITIONS, option="--point", group=_OBJECT
    )  # fmt: skip
    not_points: tuple[tuple[float, ...], ...] = asked(
        (), "outside the object, patient mm", forms.POSITIONS, option="--not-point", group=_OBJECT
    )
    pixels: tuple[tuple[int, ...], ...] = asked(
        (), "inside the object, as a voxel counted from 0", forms.VOXELS, option="--pixel", group=_OBJECT
    )
    not_pixels: tuple[tuple[int, ...], ...] = asked(
        (), "outside the object, as a voxel", forms.VOXELS, option="--not-pixel", group=_OBJECT
    )
    boxes: tuple[tuple[int, ...], ...] = asked(
        (), "a box around the object: two corners as voxels, both included; flat on one axis it lies in that slice, else it holds the object in "
        "the volume. Several boxes hold one part each", forms.BOXES, option="--box", group=_OBJECT,
    )  # fmt: skip
    boxes_mm: tuple[tuple[float, ...], ...] = asked(
        (), "the same with corners in patient mm", forms.BOXES_MM, option="--box-mm", group=_OBJECT
    )
    strokes: tuple[tuple[tuple[int, ...], ...], ...] = asked(
        (), "a line through the object: its corners as voxels|, in quotes because of the semicolons", forms.STROKES, option="--stroke", group=_OBJECT
    )  # fmt: skip
    not_strokes: tuple[tuple[tuple[int, ...], ...], ...] = asked(
        (), "a line through what does not belong to the object", forms.STROKES, option="--not-stroke", group=_OBJECT
    )
    radius: float | None = asked(None, "rough radius of the object in mm", forms.LENGTH, group=_OBJECT)
    step: int = asked(
        0, "take the Nth larger candidate than the automatic choice; smaller with a minus", forms.Form(forms.whole(-1000, 1000), "N"),
        group=_OBJECT,
    )  # fmt: skip
    alternative: int | None = asked(
        None, "take one of the three best distinct answers", forms.Form(forms.whole(1, 3), "{1,2,3}"), group=_OBJECT
    )
    slices: tuple[int, int] | None = asked(
        None, "only slices A to B, both included, or one slice K, counted from 0", forms.SLICES, option="--slices --slice", group=SEGMENT_PART
    )  # fmt: skip
    axis: str = asked(
        "auto", "the axis across the slices; auto (the default) takes the one with the largest spacing, else the one from feet to head", forms.AXIS, group=SEGMENT_PART
    )  # fmt: skip
    regions: int | None = asked(
        None, f"number of regions without points, 2 to 16 (default {DEFAULT_REGIONS})", forms.Form(forms.whole(2, 16), "N"), group=SEGMENT_RESULTS
    )  # fmt: skip
    regions_only: bool = asked(False, "leave the automatic object out", forms.SWITCH, group=SEGMENT_RESULTS)
    preset: str = asked(
        "default", "default: the best measured recipe. paper: S3-Net in its published size, with its defects cured; published: as near "
        "to the published program as can be; both slow", forms.choice(*PRESETS), group=forms.COMPUTING,
    )  # fmt: skip
    settings: tuple[str, ...] = asked(
        (), "change a setting, e.g. sources=s3net; may be repeated. 's3net settings' lists them all", forms.SETTINGS,
        option="--set", group=forms.COMPUTING,
    )  # fmt: skip
    seed: int | None = asked(
        None, "random seed; same image, seed and device: same result", forms.SEED, group=forms.COMPUTING
    )  # fmt: skip

    @property
    def has_prompts(self) -> bool:
        """Whether points, boxes or strokes ask for one object alone."""
        return bool(self.points or self.pixels or self.boxes or self.boxes_mm or self.strokes)

    @property
    def region_count(self) -> int:
        """How many regions become segments, 0 where prompts ask for one object alone."""
        return 0 if self.has_prompts else self.regions or DEFAULT_REGIONS

    def engine_settings(self) -> SegmentSettings:
        """The settings, with :attr:`region_count` regions prepared. InputError for what is wrong there."""
        return self.settings_with(self.region_count)

    def settings_with(self, regions: int | None) -> SegmentSettings:
        """The settings; ``regions`` (None or 0: no certain number) are prepared, too. InputError for what is wrong there."""
        settings = preset(self.preset).with_texts(list(self.settings))
        changes: dict[str, Any] = {} if self.seed is None else {"seed": self.seed}
        if regions and regions not in settings.region_counts:
            changes["region_counts"] = (*settings.region_counts, regions)
        return dataclasses.replace(settings, **changes)

    def contradictions(self, called: Callable[[str], str]) -> list[str]:
        """What cannot be asked together, one text each.

        :param called: field -> how the user knows it (an option, a column).
        """
        wrong = []
        places = ", ".join(map(called, ("points", "pixels", "boxes"))) + f" or {called('strokes')}"
        for name in ("not_points", "not_pixels", "not_strokes"):
            given = getattr(self, name)
            if given and not self.has_prompts:
                first = given[0][0] if name == "not_strokes" else given[0]
                shown = ",".join(f"{value:g}" for value in first)
                kind = "strokes" if name == "not_strokes" else "points"
                wrong.append(f"{called(name)} {shown}: {kind} outside need {places} inside the object")
        if self.radius is not None and not (self.points or self.pixels):
            wrong.append(f"{called('radius')} {self.radius:g} needs {called('points')} or {called('pixels')}")
        if self.regions is not None and self.has_prompts:
            wrong.append(
                f"{called('regions')} {self.regions} has no meaning with points, boxes or strokes, which give one object; "
                "leave one out"
            )
        if self.regions_only and (self.has_prompts or self.step or self.alternative):
            wrong.append(
                f"{called('regions_only')} leaves the object out; it cannot go with points, boxes, strokes, {called('step')} "
                f"or {called('alternative')}"
            )
        if self.step and self.alternative:
            wrong.append(f"{called('step')} and {called('alternative')} both choose an answer; leave one out")
        return wrong


@dataclass(frozen=True)
class ApplyTask:
    """Which models are applied to an image; the probabilities of several are averaged."""

    model: tuple[str, ...] = asked(
        (), "the model file; the folder of a cross-validation stands for the models of its folds, and the answers of several files, "
        "separated by ';', are averaged", forms.Form(forms.texts, "FILE", is_path=True), option="",
    )  # fmt: skip
    flips: bool = asked(
        False,
        "also look at mirrored slices and average the answers, for models that were trained with the setting flip: twice as long",
        forms.SWITCH,
    )

    def contradictions(self, called: Callable[[str], str]) -> list[str]:
        """What is missing; see :meth:`SegmentTask.contradictions`."""
        return [] if self.model else [f"{called('model')}: it is missing; name the model file"]
