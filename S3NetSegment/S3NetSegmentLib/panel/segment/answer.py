"""``SegmentAnswer``: the regions that were found and the object chosen from them; every change takes milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from slicer.i18n import tr as _

from ...engine import InputError, Segment, Segmentation, Volume, run_to_end
from ...engine.common.provenance import SEGMENT, OutcomeFacts, TaskFacts, provenance
from ...engine.images.colors import label_colors
from ...engine.images.overlay import draw_overlay
from ...engine.images.volume import AXES
from ...engine.segment.planes import grid_of
from ...engine.segment.prompts import Prompts
from .request import SegmentRequest

_FAR_APART = 2.0  # times the size: answers that differ by more are different objects
# Degrees from which on an answer was measured to be clearly worse, see benchmarks/segment/volume_prompts.py.
_FAR_TURNED = 30.0
_MARGIN = 0.6  # of the object's size, around it in a thumbnail


@dataclass(frozen=True)
class Alternative:
    """One of the best answers: a picture uint8 ``[H, W, 3]`` and what it is, for the tooltip."""

    picture: np.ndarray
    text: str
    chosen: bool


def default_count(counts: tuple[int, ...]) -> int:
    """The number of regions shown at first: the middle one of those prepared."""
    return counts[(len(counts) - 1) // 2]


class SegmentAnswer:
    """What was found for ``request``. With points it is one object, otherwise regions and perhaps a main object.

    Attributes: ``request``, ``regions`` (the engine's), ``choice`` (the engine's ObjectChoice, or None), ``count`` (number of
    regions), ``geometry`` (the searched part in world RAS; all masks are on its grid).
    """

    def __init__(
        self,
        request: SegmentRequest,
        regions,
        count: int | None = None,
        granularity: int | None = None,
        choice=None,
    ):
        """
        :param count: number of regions; None: the middle one of those prepared.
        :param granularity: step of the object's ladder; None: the automatic choice.
        :param choice: what :func:`object_steps` found for the request, if it was asked already.
        :raises InputError: prompts that cannot be used, or a number of regions that was not prepared.
        """
        self.request, self.regions = request, regions
        self.geometry: Volume = request.geometry
        self._sizes: list[float] = []  # of the pictured alternatives, mL
        self.count = default_count(regions.counts)
        self._granularity = granularity
        self.choice = self._choose(request, choice)
        if count is not None:
            self.set_count(count)

    # -- what can be changed

    def set_request(self, request: SegmentRequest, choice=None) -> None:
        """Other prompts or radius for the same regions; a granularity set by hand is kept while only points are added.

        :param choice: what :func:`object_steps` found for it, if it was asked already.
        """
        if _first_of(request) != _first_of(self.request):
            self._granularity = None
        self.choice, self.request = self._choose(request, choice), request

    @property
    def is_object(self) -> bool:
        """Whether the answer is one object that was pointed at (otherwise regions)."""
        return self.request.has_prompts

    @property
    def granularity_steps(self) -> int:
        return self.choice.steps if self.is_object else len(self.regions.counts)

    @property
    def granularity(self) -> int:
        """Step on the object's ladder, or which of the prepared numbers of regions; from 0."""
        return self.choice.index if self.is_object else self.regions.counts.index(self.count)

    @granularity.setter
    def granularity(self, step: int) -> None:
        step = int(np.clip(step, 0, self.granularity_steps - 1))
        if self.is_object:
            self._granularity = step
            self.choice = self.choice.at(step)
        else:
            self.count = self.regions.counts[step]

    def set_count(self, count: int) -> None:
        """Sets the number of regions. InputError if it was not prepared."""
        if count not in self.regions.counts:
            counts = ", ".join(map(str, self.regions.counts))
            raise InputError(
                _("{count} regions were not prepared; choose one of {counts}, or change region_counts").format(
                    count=count, counts=counts
                )
            )
        self.count = count

    def choose_alternative(self, number: int) -> None:
        if self.choice is not None:
            index = self.choice.alternatives[number]
            if self.is_object:
                self._granularity = index
            self.choice = self.choice.at(index)
        else:
            self.count = self._count_alternatives()[number]

    # -- what it is

    def object_mask(self) -> np.ndarray | None:
        """The object, bool ``[K, J, I]`` on ``geometry``; None without one."""
        return None if self.choice is None else self._inside(self.choice.mask)

    def region_labels(self) -> np.ndarray:
        """Regions 1 to ``count`` on ``geometry``; 0 outside the image (oblique planes)."""
        labels = self.regions.labels(self.count)
        return labels if self.request.valid is None else np.where(self.request.valid, labels, 0).astype(labels.dtype)

    def region_at(self, ras) -> np.ndarray:
        """The connected region at world position ``ras``. InputError if it is outside the searched part."""
        voxel = self.request.volume.voxel_at(ras)
        if not self.request.extent.contains(voxel):
            raise InputError(
                _("this place is outside {place}; click inside the part that was segmented").format(
                    place=self.request.place
                )
            )
        return self._inside(self.regions.region_at(voxel, self.count))

    def confidence(self) -> np.ndarray:
        """Confidence of each voxel, float32 0 to 1, on ``geometry``."""
        confidence = self.regions.confidence(self.choice if self.is_object else None, self.count)
        return confidence if self.request.valid is None else np.where(self.request.valid, confidence, 0)

    def object_segment(self) -> Segment:
        return Segment("Object", label_colors(1)[0], 1, tags=self.tags("object"))  # no translation

    def region_segments(self) -> list[Segment]:
        # The first colour is the object's.
        colors, tags = label_colors(self.count + 1)[1:], self.tags("region")
        return [Segment(f"Region {n}", colors[n - 1], n, tags=tags) for n in range(1, self.count + 1)]  # no translation

    def tags(self, role: str) -> dict[str, str]:
        request, choice = self.request, self.choice
        step = (
            f"{choice.index + 1} of {choice.steps}" if role == "object" and choice is not None else None
        )  # no translation
        grids = [(request.prompts, request.volume)]
        grids += [(plane.prompts, grid_of(plane, request.volume)) for plane in request.prompts.planes]
        task = TaskFacts(
            SEGMENT, request.volume.name, request.settings, request.inside, request.outside, radius_mm=request.radius_mm,
            preset=request.preset, place=request.place,
            boxes=[[*map(float, (*grid.ras_of(b.low), *grid.ras_of(b.high)))] for prompts, grid in grids for b in prompts.boxes],
            strokes=[f"{len(s)} voxels from {s[0]} to {s[-1]}" for prompts, _ in grids for s in prompts.strokes],  # no translation
            planes=[plane.view[:12] for plane in request.prompts.planes],
        )  # fmt: skip
        return provenance(task, OutcomeFacts(self.regions.device, role, step, self.count if role == "region" else None))

    # -- pictures

    def alternatives(self, size: int) -> list[Alternative]:
        """The best clearly different answers, at most three, best first, with pictures of about ``size`` pixels."""
        if self.choice is None:
            return self._count_pictures(size)
        masks = {index: self._inside(self.choice.at(index).mask) for index in self.choice.alternatives}
        box = self._view(list(masks.values()))
        color = label_colors(1)[0]
        out, self._sizes = [], []
        for index, mask in masks.items():
            labels = mask[box].astype(np.uint8)
            picture = self._picture(labels, [Segment("Object", color, 1)], box, size)  # no translation
            volume = float(mask.sum()) * abs(np.linalg.det(self.geometry.ijk_to_ras[:3, :3])) / 1000
            self._sizes.append(volume)
            out.append(Alternative(picture, _('Step {step} of {steps}, {volume:.3g} mL').format(step=index + 1, steps=self.choice.steps, volume=volume), index == self.choice.index))  # fmt: skip
        return out

    def alternative_keys(self) -> list[int]:
        """What :meth:`alternatives` are, in their order: steps of the ladder, or numbers of regions."""
        return list(self.choice.alternatives) if self.choice is not None else self._count_alternatives()

    def doubt(self) -> str:
        """What the user should know of an answer to one point alone that could as well be far larger or smaller, and of one to a
        single plane far out of the slices; else "". Known once :meth:`alternatives` were made."""
        prompts = self.request.prompts
        if prompts == Prompts(outside=prompts.outside, planes=prompts.planes[:1]) and prompts.planes:
            slices = self.request.volume.ijk_to_ras[:3, :3] / self.request.volume.spacing
            turned = np.degrees(np.arccos(np.abs(prompts.planes[0].matrix[:3, 2] @ slices).clip(0, 1).max()))
            if turned > _FAR_TURNED:
                return _(
                    "This view is turned by {degrees:.0f} degrees out of the slices: the object may be carried too far or not far "
                    "enough. A box in a view across it says where it ends."
                ).format(degrees=turned)
        alone = prompts == Prompts(prompts.inside[:1]) and prompts.find_something
        sizes = [size for size in self._sizes if size]
        if not alone or self.request.radius_mm or len(sizes) < 2 or max(sizes) < _FAR_APART * min(sizes):
            return ""
        return _(
            "One point leaves the size open: {smallest:.2g} to {largest:.2g} mL. Drag a box around the "
            "object, and it is known."
        ).format(smallest=min(sizes), largest=max(sizes))

    def _count_pictures(self, size: int) -> list[Alternative]:
        box = self._view([])
        out = []
        for count in self._count_alternatives():
            labels = self.regions.labels(count)[box]
            colors = label_colors(count + 1)[1:]
            segments = [Segment(str(n), colors[n - 1], n) for n in range(1, count + 1)]
            out.append(Alternative(self._picture(labels, segments, box, size), f"{count} regions", count == self.count))
        return out

    def _count_alternatives(self) -> list[int]:
        counts = self.regions.counts
        return [counts[n] for n in sorted({0, (len(counts) - 1) // 2, len(counts) - 1})]

    def _view(self, masks: list[np.ndarray]) -> tuple[slice, slice, slice]:
        """The box of the slice that shows the largest part of the first mask, cut to the surroundings of all masks."""
        across = 2 - AXES.index(self.request.axis)
        shape = self.geometry.array.shape[:3]
        box = [slice(0, n) for n in shape]
        number = shape[across] // 2
        if masks and masks[0].any():
            others = tuple(a for a in range(3) if a != across)
            number = int(np.argmax(masks[0].sum(axis=others)))
            shown = np.any([np.take(mask, [number], across) for mask in masks], axis=0)
            for a in others:
                used = np.flatnonzero(shown.any(axis=tuple(b for b in range(3) if b != a)))
                margin = max(int(_MARGIN * (used[-1] - used[0] + 1)), shape[a] // 12, 4)
                box[a] = slice(max(int(used[0]) - margin, 0), min(int(used[-1]) + margin + 1, shape[a]))
        box[across] = slice(number, number + 1)
        return tuple(box)

    def _picture(self, labels: np.ndarray, segments: list[Segment], box, size: int) -> np.ndarray:
        volume = Volume(self.geometry.array[box], self.geometry.ijk_to_ras, self.geometry.name)
        segmentation = Segmentation([labels], segments, volume.ijk_to_ras)
        return draw_overlay(volume, segmentation, axis=self.request.axis, index=0, size=size, outline=1, fill=0.35)

    # -- inside

    def _choose(self, request: SegmentRequest, choice=None):
        if not request.has_prompts:
            return self.regions.main_object() if choice is None else choice
        if choice is None:
            choice = run_to_end(object_steps(self.regions, request))
        return choice if self._granularity is None else choice.at(self._granularity)

    def _inside(self, mask: np.ndarray) -> np.ndarray:
        return mask if self.request.valid is None else mask & self.request.valid


def object_steps(regions, request: SegmentRequest, drawn=None):
    """Asks ``regions`` for the object that ``request`` points at, as steps that return the engine's ObjectChoice.

    :param drawn: in a volume, the answers in the slices with prompts, if they are known already.
    """
    return regions.object_steps(
        request.prompts, request.radius_mm, excluded=request.excluded, slices_so_far=drawn or None
    )


def _first_of(request: SegmentRequest) -> tuple:
    """What the ladder of sizes depends on."""
    prompts = request.prompts
    return request.radius_mm, request.inside[:1], prompts.boxes, prompts.strokes, prompts.planes
