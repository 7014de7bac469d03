"""The support as files: what the user drew, as segments with names and as drawings for the method.

Inside the method segments are numbered 1, 2, ...; the label values of the files come back in the result.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ...common.errors import InputError
from ...common.provenance import PREFIX
from ...images import AXES, Segment, Segmentation, Volume
from ...images.formats.nifti_places import on_voxels_of
from ...images.formats.seg_nrrd import read_segmentation
from ...images.label_names import all_named
from ...images.reading import read_alone, read_image
from ...images.segmentation import label_type, name_key
from ...images.volume import slices_first
from ...tasks.drawn_numbers import ALL
from ...tasks.few_shot import SupportFile
from .boxed_tag import BOXED_TAG, expected_of
from .label_grid import PlacedLabels, grid_difference, placed_labels
from .overlaps import MOST_SEGMENTS, OTHER, CodedLabels, Layers
from .support import DrawnPlane, DrawnSlice, SupportVolume, support_volume
from .support_notes import check_drawn, note_axis, note_place, note_shared

if TYPE_CHECKING:  # it brings Segment's engine, which files do not need
    from .boxes import BoxedDrawing

# A drawn slice (its number along the axis) or plane, and what is drawn there.
Sheet = tuple[int | DrawnPlane, CodedLabels]


@dataclass(eq=False)
class Support:
    """Everything that was drawn.

    :param segments: as in the files; segment number n of the method is ``segments[n - 1]``. Label values are unique in each
        layer.
    :param layers: of the numbers of the segments; several if segments overlap.
    :param drawings: what :meth:`FewShot.set_support` takes.
    :param facts: for each file what the summary says of it.
    :param notes: what the user should know.
    :param expected: names of segments that boxes or clicks show -> Dice with what they mean, as is to be expected.
    """

    segments: list[Segment] = field(default_factory=list)
    layers: Layers = field(default_factory=lambda: Layers.of((), ()))
    drawings: list = field(default_factory=list)
    facts: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    expected: dict[str, float] = field(default_factory=dict)

    @property
    def names(self) -> dict[int, str]:
        """The names of the segments by their numbers."""
        return {number: segment.name for number, segment in enumerate(self.segments, 1)}

    def drawn_here(self, axis: str) -> list[int]:
        """Drawn slices of the image itself along ``axis``."""
        own = [f for f in self.facts if f["image"] is None and f["axis"] == axis]
        return sorted({z for fact in own for z in fact["drawn"]})

    def segmentation(self, layers: Sequence[np.ndarray], ijk_to_ras: np.ndarray, tags) -> Segmentation:
        """The answer of the method with the names, colours, terminology and label values of the files.

        :param layers: :attr:`FewShotAnswer.layers`.
        """
        numbers = [0, *(segment.value for segment in self.segments)]
        values = np.array(numbers, label_type(max(numbers)))
        found = []
        for home in range(len(self.layers.members)):
            own = np.array([n > 0 and self.layers.homes[n] == home for n in range(len(values))])
            table = np.where(own, values, 0).astype(values.dtype)
            found.append(np.maximum.reduce([table[layer] for layer in layers]))
        segments = [
            dataclasses.replace(s, tags={**{n: t for n, t in s.tags.items() if not n.startswith(PREFIX)}, **tags})
            for s in self.segments  # what made the drawing did not make the answer
        ]
        return Segmentation(found, segments, ijk_to_ras)


def read_support(
    files: list[SupportFile],
    image: Volume,
    axis: str,
    chosen: list[str],
    complete: bool,
    read=read_image,
    boxed: Sequence[BoxedDrawing] = (),
) -> Support:
    """Reads ``files`` for the segmentation of ``image``.

    :param axis: axis across the drawn slices, or "auto".
    :param chosen: names of the segments wanted; none: all.
    :param read: path -> Volume, for the images that drawings belong to.
    :param boxed: what boxes showed, which counts like a last file.
    :raises InputError: files that cannot be read or used, a name that no file has, nothing drawn.
    """
    found = [read_alone(file.labels, read_segmentation) for file in files]
    found = all_named(found, [file.labels for file in files], next((file.names for file in files if file.names), None))
    found += [drawing.segmentation for drawing in boxed]
    axes = [*(axis for _ in files), *(drawing.axis for drawing in boxed)]
    files = [*files, *(drawing.file for drawing in boxed)]
    support = Support()
    names = _chosen_names(found, chosen)
    for file, segmentation in zip(files, found, strict=True):
        _add_segments(support, segmentation, names, file)
    if len(support.segments) > MOST_SEGMENTS:
        raise InputError(
            f"{len(support.segments)} segments are drawn, {MOST_SEGMENTS} are possible at once; choose some with --segments, "
            "or give the drawing if this is the image itself"
        )
    drawn = []
    for file, segmentation, across in zip(files, found, axes, strict=True):
        target = read_alone(file.image, read) if file.image else image
        drawn.append(_placed(support, file, segmentation, target, across))
    sheets = _combined(support, drawn, image)
    _spread(support, [sheet for own in sheets for sheet in own])
    for one, own, segmentation in zip(drawn, sheets, found, strict=True):
        _add_drawing(support, one, own, complete)
        _expect(support, _expected(support, segmentation, own))
    for drawing in boxed:
        support.notes += [*drawing.beyond, *(drawing.notes if complete else ())]
        _expect(support, drawing.expected)
    check_drawn(support, image)
    return support


def _expect(support: Support, expected: Mapping[str, float]) -> None:
    for name, dice in expected.items():  # of several files, and of boxes across several axes, the least
        support.expected[name] = min(dice, support.expected.get(name, 1.0))


def _expected(support: Support, segmentation: Segmentation, sheets: list[Sheet]) -> dict[str, float]:
    """Names of the segments that the panel says were found in boxes or at clicks -> mean Dice of their slices."""
    numbers, found = {name: number for number, name in support.names.items()}, {}
    for segment in segmentation.segments:
        if (tag := segment.tags.get(BOXED_TAG)) and (number := numbers.get(segment.name)):
            drawn = [sheet.label_map([number]) > 0 for _, sheet in sheets if number in sheet.counts()]
            found[segment.name] = float(np.mean([expected_of(tag, one) for one in drawn])) if drawn else 1.0
    return {name: dice for name, dice in found.items() if dice < 1}


def _chosen_names(found: list[Segmentation], chosen: list[str]) -> set[str] | None:
    """Names of the segments that ``chosen`` (names, or lists of names with commas) means; None for all."""
    if not chosen:
        return None
    names = list(dict.fromkeys(segment.name for segmentation in found for segment in segmentation.segments))
    wanted = set()
    for text in chosen:
        for part in [text] if text in names else [p.strip() for p in text.split(",") if p.strip()]:
            folded = [n for n in names if n.casefold() == part.casefold() or n == f"Segment {part}"]
            if not folded:
                raise InputError(f"there is no segment {part!r} in the support; it has {', '.join(names) or 'none'}")
            wanted.update([part] if part in names else folded)
    return wanted


def _add_segments(support: Support, segmentation: Segmentation, names: set[str] | None, file: SupportFile) -> None:
    """Adds the segments of a file that are not there yet; same name, same segment."""
    known = {s.name for s in support.segments}
    own: set[str] = set()
    for segment in segmentation.segments:
        if segment.name in own:
            raise InputError(f"{file.shown} has two segments named {segment.name!r}; rename one of them")
        own.add(segment.name)
        if segment.name in known or (names is not None and segment.name not in names):
            continue
        other = next((s.name for s in support.segments if name_key(s.name) == name_key(segment.name)), None)
        if other is not None:  # what is drawn of one would count as background of the other
            raise InputError(
                f"{file.shown} has a segment {segment.name!r} beside {other!r}; if they are one, give them one name, else names that differ "
                "in more than capitals"
            )
        support.segments.append(segment)


@dataclass(eq=False)
class _Drawn:
    """What one file says of its image, before the segments are spread over layers.

    :param target: the image that it belongs to.
    :param known: numbers of the segments that the file has.
    :param labels: what the codes in ``placed`` stand for.
    """

    file: SupportFile
    target: Volume
    known: frozenset[int]
    placed: PlacedLabels
    labels: CodedLabels

    @property
    def sheets(self) -> list[Sheet]:
        """The drawn slices (number along the axis) and planes with what is drawn there."""
        slices = slices_first(self.placed.labels, self.placed.axis)
        found: list[Sheet] = [(z, self.labels.with_codes(slices[z])) for z in self.placed.drawn]
        return found + [(plane, self.labels.with_codes(plane.labels)) for plane in self.placed.planes]

    def counts(self) -> Counter[int]:
        return sum((sheet.counts() for _, sheet in self.sheets), Counter())


def _placed(support: Support, file: SupportFile, segmentation: Segmentation, target: Volume, axis: str) -> _Drawn:
    """``segmentation`` on the grid of ``target``, the image that it belongs to; notes what is odd about its place."""
    segmentation = on_voxels_of(segmentation, target)
    labels = _coded(support, segmentation, file)
    drawn: Sequence[int] | None = None
    if file.drawn == ALL:
        axis = target.slice_axis(axis)
        drawn = range(target.size[AXES.index(axis)])
    elif file.drawn is not None and not isinstance(file.drawn, str):
        drawn = file.drawn
    try:
        placed = placed_labels(labels.codes, segmentation.ijk_to_ras, target, axis, drawn)
    except InputError as error:
        raise InputError(f"{file.shown}: {error}") from None
    difference = grid_difference(labels.codes.shape, segmentation.ijk_to_ras, target)
    note_place(support.notes, file, target, labels.codes, placed, difference)
    if file.drawn is None:
        note_axis(support.notes, file, placed, axis)
    names = {segment.name for segment in segmentation.segments}
    known = frozenset(n for n, segment in enumerate(support.segments, 1) if segment.name in names)
    return _Drawn(file, target, known, placed, labels)


def _coded(support: Support, segmentation: Segmentation, file: SupportFile) -> CodedLabels:
    """The segments of a file by the method's numbers."""
    number_of = {segment.name: n for n, segment in enumerate(support.segments, 1)}
    maps = [np.zeros(layer.shape, np.uint8) for layer in segmentation.layers]
    for segment in segmentation.segments:
        maps[segment.layer][segmentation.mask(segment)] = number_of.get(segment.name, OTHER)
    used = {segment.layer for segment in segmentation.segments} or {0}
    labels = CodedLabels.of([maps[n] for n in sorted(used)])
    if not labels.counts():
        what = "the chosen segments" if labels.codes.any() else "any segment"
        raise InputError(f"{file.shown} holds nothing of {what}; draw a segment on at least one slice")
    return labels


def _combined(support: Support, found: list[_Drawn], image: Volume) -> list[list[Sheet]]:
    """The sheets of each file. A slice that is drawn in several files is taken from the last of them, with the segments of
    the earlier ones that it does not have."""
    sheets = [drawn.sheets for drawn in found]
    for later in range(1, len(found)):
        for earlier in range(later):
            one, other = found[earlier], found[later]
            if one.target is not image or other.target is not image or one.placed.axis != other.placed.axis:
                continue
            shared = {z for z, _ in sheets[earlier] if isinstance(z, int)} & {z for z, _ in sheets[later]}
            if not shared:
                continue
            below = {z: labels for z, labels in sheets[earlier] if z in shared}
            sheets[earlier] = [(z, labels) for z, labels in sheets[earlier] if z not in shared]
            sheets[later] = [
                (z, labels.over(below[z], other.known)) if z in shared else (z, labels) for z, labels in sheets[later]
            ]
            note_shared(support.notes, one, other, sorted(shared), support.segments)
    return sheets


def _spread(support: Support, sheets: list[Sheet]) -> None:
    """Finds the layers of the segments; notes those that overlap, and gives new label values where two of a layer share one."""
    pairs = sum((labels.overlaps() for _, labels in sheets), Counter())
    support.layers = Layers.of(range(1, len(support.segments) + 1), pairs)
    for (a, b), count in sorted(pairs.items()):
        names = " and ".join(repr(support.segments[n - 1].name) for n in (a, b))
        support.notes.append(f"{names} overlap in {count:,} drawn voxels; each is answered on its own and stays whole")
    taken: dict[int, set[int]] = {}
    for number, segment in enumerate(support.segments, 1):
        used = taken.setdefault(support.layers.homes[number], set())
        value = segment.value
        if value in used:
            value = next(v for v in range(1, 65536) if v not in used)
            if not any("label value" in note for note in support.notes):
                support.notes.append("segments share a label value in the support; later ones got new values")
        used.add(value)
        home = support.layers.homes[number]
        support.segments[number - 1] = dataclasses.replace(segment, value=value, layer=home)


def _add_drawing(support: Support, drawn: _Drawn, sheets: list[Sheet], complete: bool) -> None:
    """Adds what the method takes, and what the summary says of the file."""
    file, target, placed = drawn.file, drawn.target, drawn.placed
    slices = target.size[AXES.index(placed.axis)]
    for layer, members in enumerate(support.layers.members):
        if file.image and len(placed.drawn) == slices:
            labels = drawn.labels.with_codes(placed.labels).label_map(members)
            if labels.any():
                support.drawings.append(SupportVolume(target, labels, placed.axis, layer=layer))
            continue
        items: list[DrawnSlice | DrawnPlane] = []
        for place, sheet in sheets:
            labels = sheet.label_map(members)
            if isinstance(place, DrawnPlane):
                items.append(DrawnPlane(labels, place.plane_to_ras, complete, layer))
            else:
                items.append(DrawnSlice(placed.axis, place, labels, complete, layer))
        if not file.image:
            support.drawings += items
        elif any(item.labels.any() for item in items):
            support.drawings.append(support_volume(target, items))
    pixels = {support.segments[n - 1].name: count for n, count in sorted(drawn.counts().items())}
    support.facts.append(
        {
            "labels": file.labels if file.is_boxes else os.path.abspath(file.labels),
            "image": os.path.abspath(file.image) if file.image else None,
            "axis": placed.axis,
            "drawn": placed.drawn,
            "drawn_planes": len(placed.planes),
            "slices": slices,
            "resampled": placed.moved,
            "pixels": pixels,
        }
    )
