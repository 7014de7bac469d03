"""Slice first, then carried: prompts on slices and oblique planes are answered there, and these answers are drawings for Few-shot,
which carries them through the volume.

Each further slice or plane with prompts is a further drawing. What boxes leave no room for, points outside and voxels of other segments
are never part of the object.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from ..common.arrays import three
from ..common.errors import InputError
from ..common.progress import Step, Steps, as_part_of
from ..images import AXES, Extent, Volume
from ..images.array_order import ArrayOrder
from ..images.volume import slices_first
from .planes import AnsweredVoxels, allowed_by, closed_pixels, cut_of, drawn_plane
from .prompts import Crossing, PromptedPlane, Prompts, SliceKey, Voxel, prompted_slices
from .settings import SegmentSettings

Place = SliceKey | PromptedPlane
# bool [rows, columns]: of a slice over the extent, in the order of its array axes; of a plane its cut through the whole volume
DrawnSlices = dict[Place, np.ndarray]


@dataclass(frozen=True, eq=False)
class CarriedObject:
    """An object carried from its slices.

    :param drawn: the answer in each slice with prompts.
    :param mask: bool ``[K, J, I]`` over the extent.
    :param confidence: probability of each voxel's side, float32 ``[K, J, I]`` over the extent, 0 to 1.
    :param few_shot_notes: what Few-shot says that the user should know.
    """

    drawn: DrawnSlices
    mask: np.ndarray
    confidence: np.ndarray
    few_shot_notes: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What the user should know."""
        empty = (key for key, plane in self.drawn.items() if not plane.any())
        shown = (
            "an oblique plane" if isinstance(key, PromptedPlane) else f"slice {key[1]} along {key[0]}" for key in empty
        )
        return [*(f"in {place} nothing was found" for place in shown), *self.few_shot_notes]

    def in_order(self, order: ArrayOrder) -> CarriedObject:
        """The same in another order of the volume's axes."""
        mask, confidence = (np.ascontiguousarray(order.array(a)) for a in (self.mask, self.confidence))
        return CarriedObject(drawn_in_order(self.drawn, order), mask, confidence, self.few_shot_notes)


def drawn_in_order(drawn: Mapping[Place, np.ndarray], order: ArrayOrder) -> DrawnSlices:
    """Masks of slices in another order of the volume's axes; those of oblique planes do not know of it."""
    found: DrawnSlices = {}
    for key, mask in drawn.items():
        if isinstance(key, PromptedPlane):
            found[key] = mask
        else:
            found[order.slice(*key)] = order.plane(key[0], mask)
    return found


def draw_prompts(
    volume: Volume,
    prompts: Prompts,
    *,
    extent: Extent | None = None,
    axis: str = "auto",
    settings: SegmentSettings | None = None,
    device: str = "auto",
    slices_so_far: Mapping[Place, np.ndarray] | None = None,
    excluded: np.ndarray | None = None,
    find_regions=None,
    remember: Callable[[Place, Steps], Steps] | None = None,
) -> Steps[DrawnSlices]:
    """The first sight: the object in each slice and oblique plane on which prompts lie, as a generator of progress steps. A slice that
    crosses some that are answered already is told what they show there.

    :param axis: across the slices of points that no box or stroke has a slice for.
    :param slices_so_far: answers that still hold, e.g. corrected by hand; they are taken as they are.
    :param excluded: voxels of other segments, bool ``[K, J, I]`` over ``extent``.
    :param find_regions: what searches a slice; None: :func:`find_regions.find_regions`.
    :param remember: given a place and the search of its regions, returns steps that need not search what is known.
    :raises InputError: prompts that cannot be meant, see :meth:`Prompts.checked`; nothing is left of the object in any slice.
    """
    if find_regions is None:
        from .find_regions import find_regions
    extent = extent or volume.extent
    prompts, excluded = _checked(prompts, extent, excluded)
    across, given = volume.slice_axis(axis), slices_so_far or {}
    todo = prompted_slices(prompts, across, volume.order)
    drawn = {key: np.asarray(given[key], bool) for key in todo if key in given}
    # Slices of the usual direction show most, so that they tell those of others.
    order = sorted(
        (key for key in todo if key not in drawn), key=lambda key: isinstance(key, PromptedPlane) or key[0] != across
    )
    for number, key in enumerate(order):
        done, share = number / len(order), 1 / len(order)
        search = _searched(key, volume, extent, find_regions, settings, device)
        search = search if remember is None else remember(key, search)
        regions = yield from as_part_of(search, done, done + 0.8 * share)
        own_axis = "z" if isinstance(key, PromptedPlane) else key[0]
        there = _closed(key, volume, extent, excluded)
        closed = None if there is None else np.expand_dims(there, 2 - AXES.index(own_axis))
        steps = regions.object_steps(todo[key], excluded=closed, crossing=_crossing(key, drawn, volume, extent))
        choice = yield from as_part_of(steps, done + 0.8 * share, done + share)
        drawn[key] = slices_first(choice.mask, own_axis)[0] & (True if there is None else ~there)
    drawn = {key: drawn[key] for key in todo}
    if not any(mask.any() for mask in drawn.values()):
        raise InputError(
            "nothing is left of the object in the slices that were pointed at: points outside or other segments take all of it; "
            "remove some of these, or allow overlaps"
        )
    return drawn


def _searched(key: Place, volume: Volume, extent: Extent, find_regions, settings, device: str) -> Steps:
    """Searches the regions of a slice, or of the image in a plane."""
    if isinstance(key, PromptedPlane):
        image, across = cut_of(key, volume), "z"
        part = image.extent
    else:
        image, part, across = volume, extent.slice_at(*key), key[0]
    return (yield from find_regions(image, extent=part, axis=across, settings=settings, device=device))


def _closed(key: Place, volume: Volume, extent: Extent, excluded: np.ndarray | None) -> np.ndarray | None:
    """What the object cannot have in a slice or plane, bool ``[rows, columns]``; None: nothing."""
    if isinstance(key, PromptedPlane):
        return closed_pixels(key, volume, extent, excluded)
    return None if excluded is None else slices_first(excluded, key[0])[_local(key, extent)]


def _crossing(key: Place, drawn: DrawnSlices, volume: Volume, extent: Extent) -> Crossing | None:
    """What the answers ``drawn`` that cross slice ``key`` show there; None where they show nothing of the object. An oblique plane is
    not told."""
    if isinstance(key, PromptedPlane):
        return None
    voxels: tuple[list[Voxel], list[Voxel]] = [], []
    for place, mask in drawn.items():
        if not isinstance(place, PromptedPlane) and place[0] == key[0]:
            continue  # slices of one direction never cross
        answer = AnsweredVoxels.of(place, mask, volume, extent)
        index = np.broadcast_arrays(*answer.index)
        there = index[2 - AXES.index(key[0])] == _local(key, extent)
        for side, own in zip(voxels, (there & answer.inside, there & ~answer.inside), strict=True):
            side.extend(map(three, (np.stack([n[own] for n in index[::-1]], 1) + extent.start).tolist()))
    return Crossing(tuple(voxels[0]), tuple(voxels[1])) if voxels[0] else None


def carry_prompts(
    volume: Volume,
    prompts: Prompts,
    *,
    extent: Extent | None = None,
    axis: str = "auto",
    settings: SegmentSettings | None = None,
    device: str = "auto",
    slices_so_far: Mapping[Place, np.ndarray] | None = None,
    excluded: np.ndarray | None = None,
) -> Steps[CarriedObject]:
    """The object that ``prompts`` show, carried from their slices through ``extent``, as a generator of progress steps.

    Parameters and errors are those of :func:`draw_prompts`, whose answer given as ``slices_so_far`` is not made again.
    """
    extent = extent or volume.extent
    prompts, excluded = _checked(prompts, extent, excluded)
    drawn = yield from as_part_of(
        draw_prompts(
            volume, prompts, extent=extent, axis=axis, settings=settings, device=device,
            slices_so_far=slices_so_far, excluded=excluded,
        ),
        0.0, 0.3,
    )  # fmt: skip
    allowed = allowed_by(prompts, volume, extent)
    carried = yield from as_part_of(_carried(volume, drawn, extent, allowed, settings, device), 0.3, 1.0)
    answered = [AnsweredVoxels.of(key, plane, volume, extent) for key, plane in drawn.items()]
    mask = kept_near_drawn(carried.mask, answered, prompts, extent, allowed, excluded)
    return dataclasses.replace(carried, mask=mask)


def kept_near_drawn(
    mask: np.ndarray,
    answered: Sequence[AnsweredVoxels],
    prompts: Prompts,
    extent: Extent,
    allowed: np.ndarray | None,
    excluded: np.ndarray | None,
) -> np.ndarray:
    """``mask`` (bool ``[K, J, I]`` over ``extent``) with the slices as they were answered, without what it must not hold, and of
    the rest the parts that hang together with the slices.

    :param answered: the slices and planes. ``allowed``: see :func:`allowed_by`.
    """
    mask = mask.copy()
    for known in answered:
        mask[known.index] = known.inside
    for known in answered:  # where slices cross, each keeps what any of them shows
        mask[known.index] |= known.inside
    if allowed is not None:
        mask &= allowed
    for voxel in prompts.inside_voxels:
        mask[extent.index(voxel)] = True
    for voxel in prompts.outside_voxels:
        mask[extent.index(voxel)] = False
    if excluded is not None:
        mask &= ~excluded
    return _joined(mask, answered)


def _joined(mask: np.ndarray, answered: Sequence[AnsweredVoxels]) -> np.ndarray:
    parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count < 2:
        return mask
    shown = np.zeros(count + 1, bool)
    for known in answered:
        shown[parts[known.index][known.inside]] = True
    shown[0] = False
    return shown[parts]


def _carried(volume: Volume, drawn, extent: Extent, allowed, settings, device: str) -> Steps[CarriedObject]:
    """What Few-shot makes of what is drawn, from the first to the last slice that boxes leave."""
    from ..few_shot.method import DrawnPlane, DrawnSlice, FewShot
    from ..few_shot.settings import FewShotSettings

    yield Step(0.0, "Carrying the object through the volume")
    part = volume if extent == volume.extent else volume.cropped(extent)
    shown = {key: plane for key, plane in drawn.items() if plane.any()}
    drawings: list[DrawnSlice | DrawnPlane] = [
        drawn_plane(key, mask, volume) if isinstance(key, PromptedPlane)
        else DrawnSlice(key[0], _local(key, extent), mask.astype(np.uint8))
        for key, mask in shown.items()
    ]  # fmt: skip
    whole = [drawing.axis for drawing in drawings if isinstance(drawing, DrawnSlice)]
    # Slices are carried from slice to slice, and planes tell of single voxels: where both are drawn, the slices lead.
    across = _main_axis(
        whole or [d.axis_in(volume) for d in drawings if isinstance(d, DrawnPlane)], volume.slice_axis()
    )
    few_shot = FewShot(part, FewShotSettings(seed=(settings or SegmentSettings()).seed), across, device=device)
    few_shot.set_support(drawings)
    answer = yield from few_shot.propagate(None if allowed is None else _span(allowed, across))
    mask = answer.labels > 0
    return CarriedObject(drawn, mask, answer.confidence, answer.notes)


def _main_axis(axes: Sequence[str], usual: str) -> str:
    """The axis that most lie across; of equals the usual one of the volume, else the first."""
    return max(dict.fromkeys(axes), key=lambda axis: (axes.count(axis), axis == usual))


def _span(allowed: np.ndarray, axis: str) -> tuple[int, int]:
    """First and last slice across ``axis`` with anything allowed."""
    filled = np.flatnonzero(slices_first(allowed, axis).any((1, 2)))
    return int(filled[0]), int(filled[-1])


def _checked(prompts: Prompts, extent: Extent, excluded) -> tuple[Prompts, np.ndarray | None]:
    if excluded is not None:
        excluded = np.asarray(excluded, bool)
        if excluded.shape != extent.size[::-1]:
            raise InputError(
                f"the voxels of other segments have shape {excluded.shape}; the searched part has {extent.size[::-1]}"
            )
    return prompts.checked(extent), excluded


def _local(key: SliceKey, extent: Extent) -> int:
    return key[1] - extent.start[AXES.index(key[0])]
