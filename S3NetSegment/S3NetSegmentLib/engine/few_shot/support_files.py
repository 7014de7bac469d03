"""The support as files: what the user drew, as segments with names and as drawings for the method.

Inside the method segments are numbered 1, 2, ...; the label values of the files come back in the result.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..images import AXES, Segment, Segmentation, Volume
from ..images.label_names import all_named
from ..images.reading import read_image
from ..images.seg_nrrd import read_segmentation
from .drawn_numbers import ALL
from .elsewhere import support_volume
from .label_grid import PlacedLabels, placed_labels
from .support import SupportVolume, drawn_slices

MOST_SEGMENTS = 254
_FEW_PIXELS = 8
_SPARSE = 0.6  # share of slices with labels, at most, where somebody drew on a slice now and then
_NOT_CHOSEN = 255  # drawn, but not among --segments: background, though its slice is a drawn one


@dataclass(frozen=True)
class SupportFile:
    """One drawing as the user names it.

    :param labels: path of the labels.
    :param image: path of the image that they belong to; None: the image that is segmented.
    :param drawn: drawn slices named by the user, or "all"; None: those that hold labels.
    :param names: path of a file with names for the values of a plain label map, see :mod:`~..images.label_names`.
    """

    labels: str
    image: str | None = None
    drawn: tuple[int, ...] | str | None = None
    names: str | None = None

    @property
    def shown(self) -> str:
        return repr(os.path.basename(self.labels))


@dataclass(eq=False)
class Support:
    """Everything that was drawn.

    :param segments: as in the files; segment number n of the method is ``segments[n - 1]``. Label values are unique.
    :param drawings: what :meth:`FewShot.set_support` takes.
    :param facts: for each file what the summary says of it.
    :param notes: what the user should know.
    """

    segments: list[Segment] = field(default_factory=list)
    drawings: list = field(default_factory=list)
    facts: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def drawn_here(self, axis: str) -> list[int]:
        """Drawn slices of the image itself along ``axis``."""
        own = [f for f in self.facts if f["image"] is None and f["axis"] == axis]
        return sorted({z for fact in own for z in fact["drawn"]})

    def segmentation(self, numbers: np.ndarray, ijk_to_ras: np.ndarray, tags) -> Segmentation:
        """The answer of the method with the names, colours, terminology and label values of the files."""
        values = np.array([0, *(segment.value for segment in self.segments)])
        values = values.astype(np.uint8 if values.max() < 256 else np.uint16)
        segments = [dataclasses.replace(s, tags={**s.tags, **tags}) for s in self.segments]
        return Segmentation([values[numbers]], segments, ijk_to_ras)


def read_support(
    files: list[SupportFile], image: Volume, axis: str, chosen: list[str], complete: bool, read=read_image
) -> Support:
    """Reads ``files`` for the segmentation of ``image``.

    :param axis: axis across the drawn slices, or "auto".
    :param chosen: names of the segments wanted; none: all.
    :param read: path -> Volume, for the images that drawings belong to.
    :raises InputError: files that cannot be read or used, a name that no file has, nothing drawn.
    """
    found = [_read(read_segmentation, file.labels) for file in files]
    found = all_named(found, [file.labels for file in files], next((file.names for file in files if file.names), None))
    support = Support()
    names = _chosen_names(found, chosen)
    for file, segmentation in zip(files, found, strict=True):
        _add_segments(support, segmentation, names, file)
    if len(support.segments) > MOST_SEGMENTS:
        raise InputError(
            f"{len(support.segments)} segments are drawn, {MOST_SEGMENTS} are possible at once; choose some with --segments, "
            "or give the drawing if this is the image itself"
        )
    for file, segmentation in zip(files, found, strict=True):
        target = _read(read, file.image) if file.image else image
        _add_drawing(support, file, segmentation, target, axis, complete)
    _check_drawn(support, image)
    return support


def _read(reader, path: str):
    """What ``reader`` finds at ``path``; its errors name the file, and not --frame, which is for the image alone."""
    try:
        return reader(path)
    except InputError as error:
        if "--frame" in str(error):
            raise InputError(f"{path!r} is 4D; save the frame that you mean as a 3D file of its own") from None
        if "--series" in str(error):
            raise InputError(
                f"{path!r} holds several DICOM series; give one file of the series that you mean"
            ) from None
        raise error if path in str(error) else InputError(f"{path!r}: {error}") from None


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
    known, taken = {s.name for s in support.segments}, {s.value for s in support.segments}
    own: set[str] = set()
    for segment in segmentation.segments:
        if segment.name in own:
            raise InputError(f"{file.shown} has two segments named {segment.name!r}; rename one of them")
        own.add(segment.name)
        if segment.name in known or (names is not None and segment.name not in names):
            continue
        value = segment.value
        if value in taken:
            value = next(v for v in range(1, 65536) if v not in taken)
            if not any("label value" in note for note in support.notes):
                support.notes.append("segments share a label value in the support; later ones got new values")
        taken.add(value)
        support.segments.append(dataclasses.replace(segment, value=value, layer=0))


def _add_drawing(
    support: Support, file: SupportFile, segmentation: Segmentation, target: Volume, axis: str, complete: bool
) -> None:
    """``target``: the image that the drawing belongs to."""
    numbers = _numbered(support, segmentation, file)
    drawn = file.drawn
    if drawn == ALL:
        axis = target.slice_axis(axis)
        drawn = range(target.size[AXES.index(axis)])
    try:
        placed = placed_labels(numbers, segmentation.ijk_to_ras, target, axis, drawn)
    except InputError as error:
        raise InputError(f"{file.shown}: {error}") from None
    _note_place(support, file, target, numbers, placed)
    if file.drawn is None and not placed.planes:
        _note_axis(support, file, placed, axis)
    placed = _without_unchosen(placed)
    slices = target.size[AXES.index(placed.axis)]
    if file.image:
        if len(placed.drawn) == slices:
            support.drawings.append(SupportVolume(target, placed.labels, placed.axis))
        else:
            support.drawings.append(support_volume(target, placed.slices(complete)))
    else:
        support.drawings += placed.slices(complete)
    pixels = {s.name: _pixels(placed, n) for n, s in enumerate(support.segments, 1)}
    support.facts.append(
        {
            "labels": os.path.abspath(file.labels),
            "image": os.path.abspath(file.image) if file.image else None,
            "axis": placed.axis,
            "drawn": placed.drawn,
            "drawn_planes": len(placed.planes),
            "slices": slices,
            "resampled": placed.moved,
            "pixels": {name: count for name, count in pixels.items() if count},
        }
    )


def _numbered(support: Support, segmentation: Segmentation, file: SupportFile) -> np.ndarray:
    """The segments of a file as one label map of the method's numbers; of overlapping ones the smaller counts."""
    number_of = {segment.name: n for n, segment in enumerate(support.segments, 1)}
    out = np.zeros(segmentation.layers[0].shape, np.uint8)
    chosen = []
    for segment in segmentation.segments:
        mask = segmentation.mask(segment)
        if segment.name in number_of:
            chosen.append((int(mask.sum()), segment.name, mask))
        else:
            out[mask] = _NOT_CHOSEN
    for _, name, mask in sorted(chosen, key=lambda part: -part[0]):
        covered = out[mask]
        for number in np.unique(covered[(covered > 0) & (covered != _NOT_CHOSEN)]):
            support.notes.append(
                f"segments {support.segments[number - 1].name!r} and {name!r} overlap in "
                f"{int((covered == number).sum()):,} voxels of {file.shown}; they count for {name!r}, the smaller one"
            )
        out[mask] = number_of[name]
    if not any(size for size, _, _ in chosen):
        what = "the chosen segments" if out.any() else "any segment"
        raise InputError(f"{file.shown} holds nothing of {what}; draw a segment on at least one slice")
    return out


def _note_place(support: Support, file: SupportFile, target: Volume, numbers: np.ndarray, placed: PlacedLabels) -> None:
    if placed.moved:
        how = "its drawn slices are used as planes" if placed.planes else "brought onto it by nearest neighbour"
        support.notes.append(f"{file.shown} lies on another grid than image {target.name!r}: {how}")
    if placed.outside > 0.0005:
        support.notes.append(
            f"{placed.outside:.1%} of what is drawn in {file.shown} lies outside image {target.name!r}"
        )
    elif file.drawn is not None and not placed.moved and np.count_nonzero(numbers) > np.count_nonzero(placed.labels):
        support.notes.append(f"{file.shown} holds labels on other slices than --drawn names; they are not used")


def _without_unchosen(placed: PlacedLabels) -> PlacedLabels:
    labels = np.where(placed.labels == _NOT_CHOSEN, 0, placed.labels).astype(np.uint8)
    planes = [
        dataclasses.replace(p, labels=np.where(p.labels == _NOT_CHOSEN, 0, p.labels).astype(np.uint8))
        for p in placed.planes
    ]
    return dataclasses.replace(placed, labels=labels, planes=planes)


def _note_axis(support: Support, file: SupportFile, placed: PlacedLabels, asked: str) -> None:
    """Notes signs that the drawing lies on slices across another axis than the one taken."""
    if placed.moved:
        return
    count = len(placed.drawn)
    for axis in sorted(set(AXES) - {placed.axis}):
        other = drawn_slices(placed.labels, axis)[1]
        sparse = len(other) <= _SPARSE * (other[-1] - other[0] + 1)
        if asked != "auto" and len(other) < count:
            support.notes.append(
                f"{file.shown} holds labels on {count} slices along {placed.axis}, which all count as drawn, but on only "
                f"{len(other)} along {axis}; if that is where you drew, leave --axis out"
            )
        elif asked == "auto" and sparse and count > 1 and count == placed.drawn[-1] - placed.drawn[0] + 1:
            support.notes.append(
                f"{file.shown} was taken as drawn on {count} neighbouring slices along {placed.axis}; if you drew on slice "
                f"{', '.join(map(str, other[:6]))}{' ...' if len(other) > 6 else ''} along {axis}, say --axis {axis}"
            )


def _pixels(placed: PlacedLabels, number: int) -> int:
    return int((placed.labels == number).sum() + sum((plane.labels == number).sum() for plane in placed.planes))


def _check_drawn(support: Support, image: Volume) -> None:
    """Refuses a support that leaves nothing to do or holds nothing; notes segments of which nothing is drawn."""
    drawn: dict[str, int] = {}
    for fact in support.facts:
        for name, count in fact["pixels"].items():
            drawn[name] = drawn.get(name, 0) + count
    counts = {segment.name: drawn.get(segment.name, 0) for segment in support.segments}
    nothing = [name for name, count in counts.items() if count == 0]
    little = [name for name, count in counts.items() if 0 < count <= _FEW_PIXELS]
    if nothing:
        support.notes.append(f"of {_shown_names(nothing)} nothing is drawn on the drawn slices; it stays empty")
    if little:
        support.notes.append(
            f"{_shown_names(little)}: at most {_FEW_PIXELS} pixels are drawn, too little to learn from"
        )
    if not drawn:
        raise InputError("nothing of the chosen segments is drawn on the drawn slices; draw a segment on at least one")
    for fact in support.facts:
        if fact["image"] is None and len(fact["drawn"]) == fact["slices"]:
            if fact["slices"] == 1:
                raise InputError(
                    f"image {image.name!r} has one slice, and that is drawn; few-shot needs a volume, or a drawing of another "
                    "image (--support-image)"
                )
            raise InputError(
                f"{os.path.basename(fact['labels'])!r} is drawn on every slice along {fact['axis']} of image "
                f"{image.name!r}, so nothing is left to find; name the slices to learn from with --drawn, or the image that "
                "it belongs to with --support-image"
            )


def _shown_names(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} others" if len(names) > 3 else "")
    return f"segment{'s' if len(names) > 1 else ''} {shown}"
