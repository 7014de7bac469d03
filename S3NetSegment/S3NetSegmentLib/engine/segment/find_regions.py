"""Segment: regions of an image without any label, and objects made of them by points or by themselves.

``find_regions`` does the long work once; the ``Regions`` it returns answer every further question (another number of
regions, a point, another granularity) without fitting again: in milliseconds, a new point in a volume in a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import ndimage

from ..common.arrays import label_counts, three, two
from ..common.device import torch_loaded
from ..common.errors import InputError, ResourceError
from ..common.progress import Step, Steps, as_part_of, run_to_end
from ..images import AXES, Extent, Segment, Segmentation, Volume
from ..images.colors import label_colors
from ..images.image_warnings import label_map_notes
from ..images.intensity import intensity_scale
from ..images.resample import labels_to_grid, resized
from .object_choice import Finish, ObjectChoice, chosen, refuse_excluded, slice_candidates
from .objects import SliceObjects, VolumeObjects, objects_of_volume
from .point_in_slices import seen_in_slices
from .prompts import Crossing, PromptedPlane, Prompts, SliceKey, Voxel, require_inside
from .regions.clustering import ClusterLabels
from .regions.maps import VolumeMaps, slice_maps, volume_maps
from .regions.volume_graph import region_graph
from .settings import SegmentSettings
from .working_grid import WorkingGrid


def find_regions(
    volume: Volume,
    *,
    extent: Extent | None = None,
    axis: str = "auto",
    settings: SegmentSettings | None = None,
    device: str = "auto",
) -> Steps[Regions]:
    """Searches the regions of ``volume`` inside ``extent`` (None: everywhere), as a generator of progress steps.

    Intensities are normalised from the whole volume, so neighbouring slices treated one by one agree. An extent of one
    slice is treated as a picture; a thicker one as a volume, with one set of regions for all its slices.

    :param axis: the axis across the slices, see :meth:`Volume.slice_axis`.
    :param device: where S3-Net computes, see ``engine.device``; k-means and graph regions always use the CPU.
    :raises InputError: an image without contrast or with nothing finite, bad settings, an unusable device.
    :raises ResourceError: the memory of the machine is not enough.
    """
    settings = settings or SegmentSettings()
    extent = extent or volume.extent
    if not all(0 <= a < b <= n for a, b, n in zip(extent.start, extent.stop, volume.size, strict=True)):
        raise InputError(
            f"the part {extent.start} to {extent.stop} (i, j, k) does not lie in image {volume.name!r}, whose size is "
            f"{volume.size}; choose slices or a region of interest inside the image"
        )
    volume.slice_axis(axis)  # a wrong name is refused before anything is computed
    if _needs_torch(device, settings, volume):
        yield from torch_loaded("segment.s3net.fit")
    network_device = _network_device(device, settings, volume)
    try:
        scale = intensity_scale(volume)
        grid = WorkingGrid(volume, extent, axis, settings.work_size)
        features = yield from as_part_of(grid.features_of(volume, scale), 0.0, 0.1)
        if not features.max() - features.min() > 1e-6:
            raise InputError(
                f"the chosen part of image {volume.name!r} is constant; there is nothing to tell apart. "
                "Choose another slice or a larger part"
            )
        found = yield from as_part_of(_searched(volume, grid, features, scale, settings, network_device), 0.1, 1.0)
        found.notes[:0] = scale.notes
        return found
    except MemoryError:
        raise ResourceError(
            "the memory of this machine is not enough for this part of the image; choose fewer slices or a region of "
            "interest, or close other programs"
        ) from None


class Regions:
    """What was found in ``extent`` of ``volume``. All label arrays and masks are [K, J, I] over ``extent``.

    Attributes: volume, extent, axis ("x", "y", "z"), settings, device (str), notes (list of str: what the user should
    know, e.g. that memory ran out and the CPU took over), counts (tuple of available region numbers, ascending),
    uses_network (bool: S3-Net took part).
    """

    def __init__(
        self,
        volume,
        grid: WorkingGrid,
        settings,
        labelling,
        objects,
        device: str,
        notes: list[str],
        scale,
        features=None,
    ):
        """:param scale: of the intensities. ``features``: of a slice, on the working grid."""
        self.volume, self.settings = volume, settings
        self.extent, self.axis = grid.extent.in_order(grid.order.back), grid.order.back.axis(grid.axis)
        self.device, self.notes, self.counts = device, notes, settings.region_counts
        self._grid, self._labelling, self._objects = grid, labelling, objects
        self._scale, self._features = scale, features
        self._empty = scale.without_number(volume.ordered.array[grid.extent.slices])
        self.uses_network = _uses_network(settings, volume)
        # Only the last answers are kept: a label map of a large volume is large.
        self._labels: dict[int, np.ndarray] = {}
        self._stability: dict[int, np.ndarray] = {}
        self._ranked: dict = {}
        self._main: tuple = ()  # the main object, once it was asked for

    def labels(self, count: int) -> np.ndarray:
        """Regions 1 to ``count`` (uint8), canonical order: mean intensity ascending; 0 where the image has no number. InputError if
        not in counts."""
        self._check_count(count)
        if count not in self._labels:
            working = self._labelling.labels(count) + np.uint8(1)
            native = self._grid.to_native(working, labels_to_grid)
            native = native if self._empty is None else np.where(self._empty, np.uint8(0), native)
            self._labels = {count: self._grid.stored(native)}
        return self._labels[count]

    def object_at(
        self,
        inside: Sequence[Voxel] = (),
        outside: Sequence[Voxel] = (),
        radius_mm: float | None = None,
        *,
        excluded: np.ndarray | None = None,
        slices_so_far: Mapping[SliceKey | PromptedPlane, np.ndarray] | None = None,
        **further: Iterable,
    ) -> ObjectChoice:
        """What :meth:`object_steps` finds, at points and ``further`` prompts by the names that :class:`Prompts` has for them."""
        prompts = Prompts(tuple(inside), tuple(outside), **{kind: tuple(own) for kind, own in further.items()})
        return run_to_end(self.object_steps(prompts, radius_mm, excluded=excluded, slices_so_far=slices_so_far))

    def object_steps(
        self,
        prompts: Prompts,
        radius_mm: float | None = None,
        *,
        excluded: np.ndarray | None = None,
        slices_so_far: Mapping[SliceKey | PromptedPlane, np.ndarray] | None = None,
        crossing: Crossing | None = None,
    ) -> Steps[ObjectChoice]:
        """The object that points, boxes and strokes ask for, as a generator of progress steps. What it found is
        remembered, so asking again is quick.

        Without boxes and strokes it is the object at the first ``inside`` point; each further point adds (inside) or removes
        (outside) a region. Several boxes hold one part of the object each. Strokes belong to it as a whole. With boxes, strokes or
        oblique planes in a volume it is the object in their slices and planes, carried from there (:mod:`carried_choice`).

        :param radius_mm: rough radius of the object, if the user gave one; it matters to points.
        :param excluded: bool [K, J, I] over the extent, what is never part of the object (other segments).
        :param slices_so_far: in a volume, what holds in these slices, see :func:`carry.draw_prompts`.
        :param crossing: in a slice, for its boxes: what the answers of slices that cross it show there.
        :raises InputError: nothing says where the object is, prompts outside ``extent``, a box without area, the same voxel
            inside and outside, a point inside in ``excluded``, or a radius that is not above 0.
        """
        if radius_mm is not None and not (np.isfinite(radius_mm) and radius_mm > 0):
            raise InputError(f"radius is {radius_mm} mm; it must be above 0")
        prompts = prompts.checked(self.extent)
        refuse_excluded(prompts, excluded, self.extent)
        order = self._grid.order
        prompts = prompts.in_order(order)
        crossing = None if crossing is None else crossing.in_order(order)
        excluded = self._empty if excluded is None else _either(order.array(excluded), self._empty)
        by_point = not (prompts.boxes or prompts.strokes or prompts.planes)
        if not by_point and not self._grid.flat:
            return (yield from self._carried(prompts, radius_mm, excluded, slices_so_far))
        # Points beside boxes and strokes only correct what was found by these.
        drawn = prompts.boxes or (prompts.strokes, prompts.outside_strokes)
        key = (prompts.inside[0], radius_mm) if by_point else (drawn, _digest(excluded), crossing)
        if key not in self._ranked:
            self._ranked = {
                key: (yield from as_part_of(self._candidates(prompts, radius_mm, excluded, crossing), 0.0, 1.0))
            }
        ranked, allowed = self._ranked[key]
        finish = Finish(
            drawn=prompts.inside_voxels, erased=prompts.outside_voxels, excluded=excluded, allowed=allowed,
            features=self._features, native_features=self._native_features(),
        )  # fmt: skip
        return chosen(ranked, self._objects, self._grid, prompts, finish)

    def _candidates(
        self, prompts: Prompts, radius_mm: float | None, excluded: np.ndarray | None, crossing: Crossing | None
    ) -> Steps[tuple]:
        """The ranked candidates, and where the answer may lie (None: everywhere)."""
        if not prompts.boxes and not prompts.strokes:
            first = self._grid.to_work(prompts.inside[0])
            if self._grid.flat or self.settings.sources == "s3net":  # the slices are searched without the network
                return (yield from self._objects.ranked_steps(first, radius_mm=radius_mm)), None
            looking = seen_in_slices(
                self.volume.ordered, prompts.inside[0], self._grid, self._objects.graph.labels, settings=self.settings,
                radius_mm=radius_mm, find_regions=find_regions,
            )  # fmt: skip
            seen = yield from as_part_of(looking, 0.0, 0.8)
            steps = self._objects.ranked_steps(first, radius_mm=radius_mm, weighed=seen.weighed)
            return (yield from as_part_of(steps, 0.8, 1.0)), None
        yield Step(0.0, "Searching objects")
        return (yield from slice_candidates(self._objects, self._grid, prompts, excluded, crossing)), None

    def _native_features(self):
        """Rows and columns of a slice -> the scaled intensities there; None for a volume."""
        if not self._grid.flat:
            return None
        plane = np.squeeze(self.volume.ordered.array[self._grid.extent.slices], 2 - AXES.index(self._grid.axis))
        return lambda part: self._scale.apply(plane[part])

    def _carried(self, prompts: Prompts, radius_mm, excluded, slices_so_far) -> Steps[ObjectChoice]:
        from .carried_choice import prompted_choice
        from .carry import drawn_in_order

        if slices_so_far is not None:
            slices_so_far = drawn_in_order(slices_so_far, self._grid.order)
        known = frozenset((key, _digest(mask)) for key, mask in (slices_so_far or {}).items())
        key = (prompts, radius_mm, _digest(excluded), known)
        if key not in self._ranked:
            steps = prompted_choice(
                self.volume.ordered, self._grid, self._objects, prompts, settings=self.settings, scale=self._scale,
                device=self.device, radius_mm=radius_mm, excluded=excluded, slices_so_far=slices_so_far,
            )  # fmt: skip
            self._ranked = {key: (yield from as_part_of(steps, 0.0, 1.0))}
        return self._ranked[key]

    def main_object(self) -> ObjectChoice | None:
        """The main object of a picture that has one (component, border contact, centrality, size), or None."""
        return run_to_end(self.main_steps())

    def main_steps(self) -> Steps[ObjectChoice | None]:
        """:meth:`main_object` as a generator of progress steps."""
        if self._main:
            return self._main[0]
        ranked = yield from as_part_of(self._objects.main_steps(), 0.0, 0.9)
        yield Step(0.9, "Searching the main object")
        finish = Finish(excluded=self._empty, features=self._features, native_features=self._native_features())
        choice = None if ranked is None else ObjectChoice(ranked, self._objects, self._grid, (), finish=finish)
        # An object finer than the working grid can slip through it: an empty one is none.
        self._main = (choice if choice is not None and choice.mask.any() else None,)
        return self._main[0]

    def slice_to_show(self, prompts: Prompts, choice: ObjectChoice | None) -> int:
        """The slice across ``axis`` of the first point, stroke or box, else the one with most of the object, else the middle
        one."""
        across = AXES.index(self.axis)
        if prompts.find_something:
            return (*prompts.inside_voxels, *(box.centre for box in prompts.boxes))[0][across]
        first, stop = self.extent.start[across], self.extent.stop[across]
        if choice is None or not choice.mask.any():
            return (first + stop - 1) // 2
        area = np.count_nonzero(choice.mask, axis=tuple(a for a in range(3) if a != 2 - across))
        fullest = np.flatnonzero(area == area.max())
        return first + int(fullest[len(fullest) // 2])

    def region_at(self, voxel: Voxel, count: int) -> np.ndarray:
        """Mask of the connected part of region ``labels(count)`` that holds ``voxel``."""
        require_inside(voxel, self.extent)
        labels, index = self.labels(count), self.extent.index(voxel)
        parts, _ = ndimage.label(labels == labels[index])
        return parts == parts[index]

    def confidence(self, choice: ObjectChoice | None = None, count: int | None = None) -> np.ndarray:
        """Confidence of each voxel's assignment, float32 0 to 1: margin x stability under random affine views.

        With ``choice`` the assignment to that object or its surroundings (margin: how unanimous the candidates are,
        weighted by their scores); otherwise to its region in ``labels(count)``.
        """
        return run_to_end(self.confidence_steps(choice, count))

    def confidence_steps(self, choice: ObjectChoice | None = None, count: int | None = None) -> Steps[np.ndarray]:
        """:meth:`confidence` as a generator of progress steps."""
        count = self.counts[len(self.counts) // 2] if count is None else count
        self._check_count(count)
        if count not in self._stability:
            rng = np.random.default_rng([self.settings.seed, 3])
            stability = yield from as_part_of(self._labelling.stability(count, rng), 0.0, 0.9)
            self._stability = {count: stability}
        yield Step(0.9, "Weighing the confidence")
        margin = self._labelling.margin(count) if choice is None else choice.unanimity()
        return self._grid.stored(self._grid.to_native(np.clip(margin * self._stability[count], 0, 1), resized))

    def region_segmentation(self, count: int) -> Segmentation:
        """Regions as segments "Region 1" ... on the grid of the whole volume. Where the image has fewer regions than asked
        for, there are fewer segments: none is empty."""
        labels = self.labels(count)
        voxels = label_counts(labels, count + 1)
        there = np.flatnonzero(voxels[1:]) + 1
        numbers = np.zeros(count + 1, np.uint8)
        numbers[there] = np.arange(1, len(there) + 1)
        whole = np.zeros(self.volume.array.shape[:3], np.uint8)
        whole[self.extent.slices] = labels if len(there) == count else numbers[labels]
        colors = label_colors(count)
        segments = [Segment(f"Region {n}", colors[n - 1], n) for n in range(1, len(there) + 1)]
        return Segmentation([whole], segments, self.volume.ijk_to_ras)

    def _check_count(self, count: int) -> None:
        if count not in self.counts:
            raise InputError(
                f"{count} regions were not prepared; choose one of {', '.join(map(str, self.counts))}, or set "
                "region_counts before searching"
            )


class NetworkLabels:
    """The labels of a fitted S3-Net on the working grid, with the interface of :class:`ClusterLabels`."""

    def __init__(self, fitted, grid: WorkingGrid):
        self._fitted, self._grid = fitted, grid

    def labels(self, count: int) -> np.ndarray:
        return self._grid.slices_back(self._fitted.label_maps()[count])

    def margin(self, count: int) -> np.ndarray:
        return self._grid.slices_back(self._fitted.margin(count))

    def stability(self, count: int, rng: np.random.Generator) -> Steps[np.ndarray]:
        parts = []
        for z in range(len(self._grid.slices_first(np.empty(self._grid.shape, bool)))):
            yield Step(z / (z + 10), "Weighing the confidence")
            parts.append(self._fitted.stability(count, z, z + 1))
        return self._grid.slices_back(np.concatenate(parts))


def _uses_network(settings: SegmentSettings, volume: Volume) -> bool:
    return settings.sources in ("all", "s3net") or (settings.sources == "auto" and volume.is_rgb)


def _needs_torch(device: str, settings: SegmentSettings, volume: Volume) -> bool:
    """Also where a device is named that is not used: whether it exists is said."""
    return _uses_network(settings, volume) or device not in ("auto", "cpu")


def _network_device(name: str, settings: SegmentSettings, volume: Volume):
    """The torch device for S3-Net, or None where no network is used: then torch is not even imported."""
    if not _needs_torch(name, settings, volume):
        return None
    from ..common.device import choose_device

    device = choose_device(name)
    return device if _uses_network(settings, volume) else None


def _searched(
    volume: Volume, grid: WorkingGrid, features: np.ndarray, scale, settings, network_device
) -> Steps[Regions]:
    """Label maps from all sources of ``settings`` and what makes objects of them."""
    rng = np.random.default_rng([settings.seed, 1])
    labelling: ClusterLabels | NetworkLabels
    objects: SliceObjects | VolumeObjects
    maps: dict
    notes, device, classical = label_map_notes(volume), "cpu", settings.sources != "s3net"
    if network_device is None and (idle := settings.of_the_network()):
        why = "sources is classical" if settings.sources == "classical" else "a grey image is segmented without it"
        notes.append(
            f"{', '.join(idle)} had no effect: S3-Net alone reads such settings, and {why}; choose sources=all to ask S3-Net"
        )
    share = 0.95 if network_device is None else 0.4 if classical else 0.2
    if classical:
        search = (
            slice_maps(features, two(grid.spacing), settings, rng) if grid.flat
            else volume_maps(features, three(grid.spacing), settings, rng)
        )  # fmt: skip
        maps = yield from as_part_of(search, 0.0, 0.9 * share)
        labelling = ClusterLabels(features, grid.spacing, settings.region_counts, rng)
    elif grid.flat:
        maps = {}
    else:  # objects of a volume are made of its supervoxels, whatever source the candidates come from
        maps = of_volume = VolumeMaps()
        of_volume.graph = yield from as_part_of(region_graph(features, three(grid.spacing)), 0.0, share)
    if network_device is not None:
        from .s3net.fit import fit_s3net

        stack = np.ascontiguousarray(grid.slices_first(features))
        fit = fit_s3net(stack, grid.slice_spacing, settings, network_device)
        fitted = yield from as_part_of(fit, share, 0.95)
        notes += fitted.notes
        device = str(fitted.device)
        labelling = NetworkLabels(fitted, grid)
        maps["s3net"] = [labelling.labels(count) for count in settings.region_counts]
    yield Step(0.95, "Weighing regions")
    if grid.flat:
        objects = SliceObjects(features, maps, two(grid.spacing))
    else:
        objects = yield from as_part_of(objects_of_volume(features, maps, three(grid.spacing)), 0.95, 1.0)
    kept = features if grid.flat else None
    return Regions(volume, grid, settings, labelling, objects, device, notes, scale, kept)


def _either(mask: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    return mask if other is None else mask | other


def _digest(excluded: np.ndarray | None) -> int | None:
    return None if excluded is None else hash(np.packbits(excluded).tobytes())
