"""All slices of a cohort as one tensor on the device, or in a file where they are too many."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ...common.arrays import label_counts
from ...common.errors import InputError, ResourceError
from ...common.progress import Step, Steps, as_part_of
from ...images import Volume
from ...images.image_warnings import grouped_warnings, label_map_notes
from ..cohort.drawing_doubts import covering_notes, sparse_slices
from ..cohort.folder import Case, image_hash
from ..cohort.label_classes import LabelClass
from .layout import SliceLayout, VolumeSlices
from .likeness import ImageLook, look_of

_DEVICE_SHARE = 0.3  # of a graphics device's free memory
_COLOUR = "there are images in colour; only their lightness is used"


@dataclass(eq=False)
class SliceBank:
    """Slices of several cases.

    :param layout: of the slices.
    :param images: uint8 ``[N, channels, side, side]``, 0 to 255 for intensities 0 to 1, each slice by itself: a tensor on
        ``device``, or an array in memory or in a file where the device has no room for it.
    :param labels: the same for the labels, ``[M, side, side]``, 0 background, 1 the first class.
    :param label_rows: for each slice its row in ``labels``, -1 for unlabelled ones.
    :param case: for each slice the number of its case in ``names``; those of a case follow one another, upwards.
    :param height: for each slice its place in the volume, 0 lowest, 1 highest.
    :param boxes: for each slice the part (top, left, height, width) that shows the volume and not padding.
    :param hashes: :func:`~..cohort.folder.image_hash` of each case by name.
    :param notes: sentences that the user should read.
    :param looks: what the images look like, one for each case.
    """

    device: torch.device
    layout: SliceLayout
    names: tuple[str, ...]
    images: torch.Tensor | np.ndarray
    labels: torch.Tensor | np.ndarray
    label_rows: np.ndarray
    case: np.ndarray
    height: np.ndarray
    boxes: np.ndarray
    hashes: dict[str, str]
    notes: list[str] = field(default_factory=list)
    looks: list[ImageLook] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.case)

    @property
    def labelled(self) -> np.ndarray:
        return np.flatnonzero(self.label_rows >= 0)

    @property
    def unlabelled(self) -> np.ndarray:
        return np.flatnonzero(self.label_rows < 0)

    def places_at(self, slices: np.ndarray) -> np.ndarray:
        """Which slices are shown as one patch with each of ``slices`` (3D), int64 ``[B, layout.depth]``, the lowest first: as many
        below as above it, but inside the volume; -1 for what a thin volume lacks."""
        depth = self.layout.depth
        first, last = self._ends(slices)
        start = np.clip(slices - depth // 2, first, np.maximum(first, last - depth))
        start -= np.maximum(0, depth - (last - first)) // 2
        places = start[:, None] + np.arange(depth)
        return np.where((places >= first[:, None]) & (places < last[:, None]), places, -1)

    def covering(self) -> np.ndarray:
        """Slices whose patches show every slice: all of them where each is shown by itself."""
        ends = np.flatnonzero(np.diff(self.case, append=-1)) + 1
        depth = self.layout.depth
        return np.concatenate(
            [
                np.minimum(np.arange(first, last, depth) + depth // 2, last - 1)
                for first, last in zip((0, *ends), ends, strict=False)
            ]
        )

    def images_at(self, slices: np.ndarray) -> torch.Tensor:
        """The slices with their neighbours, float32 ``[B, layout.inputs, side, side]``, 0 to 1, on the device; in 3D patches
        ``[B, layout.inputs, depth, side, side]``, see :meth:`places_at`, 0 where there is none."""
        if self.layout.is_3d:
            places = self.places_at(slices)
            found = self._taken(self.images, places.clip(0)).float() / 255
            found[torch.from_numpy(places < 0).to(self.device)] = 0
            return found.transpose(1, 2)
        beside = self.layout.neighbours
        first, last = self._ends(slices)
        near = [np.clip(slices + step, first, last - 1) for step in range(-beside, beside + 1)]
        return torch.cat([self._taken(self.images, place) for place in near], 1).float() / 255

    def shown_at(self, slices: np.ndarray) -> np.ndarray:
        """The slices for people to look at: uint8 ``[B, side, side]`` of the first channel, or ``[B, side, side, 3]`` in colour."""
        own = self._taken(self.images, slices).cpu().numpy()
        return np.moveaxis(own, 1, -1) if self.layout.colour else own[:, 0]

    def labels_at(self, slices: np.ndarray) -> torch.Tensor:
        """Int64 ``[B, side, side]``, in 3D ``[B, depth, side, side]``, on the device, -1 in the padding; all of the slices must be
        labelled."""
        return self.drawn_at(self.places_at(slices) if self.layout.is_3d else slices)

    def drawn_at(self, places: np.ndarray) -> torch.Tensor:
        """The labels of slices in any arrangement, int64 ``[*places.shape, side, side]`` on the device, -1 in the padding."""
        labels = self._taken(self.labels, self.label_rows[places]).long()
        return labels.masked_fill(~self.inside(places), -1)

    def valid_at(self, slices: np.ndarray) -> torch.Tensor:
        """Bool ``[B, 1, side, side]``, in 3D ``[B, 1, depth, side, side]``, on the device: what is not padding."""
        return self.inside(self.places_at(slices) if self.layout.is_3d else slices)[:, None]

    def inside(self, places: np.ndarray) -> torch.Tensor:
        """What is not padding in slices in any arrangement, bool ``[*places.shape, side, side]``; nothing of those at -1."""
        top, left, height, width = torch.from_numpy(self.boxes[places]).to(self.device)[..., None].unbind(-2)
        height = height * torch.from_numpy(places >= 0).to(self.device)[..., None]
        place = torch.arange(self.images.shape[-1], device=self.device)
        rows, columns = (place >= top) & (place < top + height), (place >= left) & (place < left + width)
        return rows[..., :, None] & columns[..., None, :]

    def _ends(self, slices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first slice of the case of each of ``slices``, and the one after its last."""
        first, last = (np.searchsorted(self.case, self.case[slices], way) for way in ("left", "right"))
        return first, last

    def cases_at(self, slices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Case numbers (int64) and heights (float32), ``[B]`` each, on the device."""
        return (
            torch.from_numpy(self.case[slices]).to(self.device),
            torch.from_numpy(self.height[slices]).to(self.device),
        )

    def _taken(self, stored: torch.Tensor | np.ndarray, rows: np.ndarray) -> torch.Tensor:
        if isinstance(stored, torch.Tensor):
            return stored[torch.from_numpy(rows).to(stored.device)]
        return torch.from_numpy(stored[rows]).to(self.device)


def build_bank(
    cases: Sequence[Case],
    classes: Sequence[LabelClass],
    layout: SliceLayout,
    *,
    device: torch.device | str = "cpu",
    limit_bytes: int = 2 << 30,
    folder: Path | None = None,
    skip_bad: bool = False,
) -> Steps[SliceBank]:
    """Reads ``cases`` into a bank.

    :param classes: of the labels; () leaves all labels out.
    :param limit_bytes: beyond it the slices are kept in a temporary file in ``folder`` and read as they are needed.
    :param skip_bad: leave out cases whose files turn out to be unreadable.
    :raises InputError: an unreadable or constant image, labels that do not fit.
    :raises ResourceError: no space for the file.
    """
    filling = _Filling(cases, classes, layout, limit_bytes, folder)
    for number, case in enumerate(cases):
        yield Step(number / len(cases), f"Reading slices: {case.name}")
        try:
            yield from as_part_of(filling.read(case), number / len(cases), (number + 1) / len(cases))
        except InputError as error:
            if not skip_bad:
                raise InputError(f"case {case.name!r}: {error}; or leave such cases out with --skip-bad") from None
            filling.notes.append(f"case {case.name!r} was left out: {error}")
        except OSError as error:
            raise ResourceError(
                f"the slices could not be kept in {str(folder)!r} ({error.strerror}); free some space"
            ) from error
    return filling.bank(torch.device(device))


class _Filling:
    """A bank while it is filled, case by case; what could not be read of a case leaves no trace.

    Attributes: ``notes``, what the user should know.
    """

    def __init__(self, cases: Sequence[Case], classes, layout: SliceLayout, limit_bytes: int, folder: Path | None):
        self._classes, self._layout = classes, layout
        self.notes: list[str] = []
        self._warned: list[str] = []
        counts = [VolumeSlices(layout, case.grid).count for case in cases]
        total = sum(counts)
        drawn = sum(n for n, case in zip(counts, cases, strict=True) if self._is_drawn(case))
        if not total:
            raise InputError("there is no slice to train on")
        self._images, self._labels = self._shelves(total, drawn, limit_bytes, folder)
        self._rows = np.full(total, -1, np.int64)
        self._owner, self._height = np.zeros(total, np.int64), np.zeros(total, np.float32)
        self._boxes = np.zeros((total, 4), np.int64)
        self._names: list[str] = []
        self._hashes: dict[str, str] = {}
        self._filled = self._labelled = 0
        self._cut: list[float] = []
        self._looks: list[ImageLook] = []
        self._padded: list[str] = []  # what was said of padding
        self._sparse: list[str] = []  # cases of which single slices are drawn
        self._shares: dict[str, list[float]] = {}  # by case, of the image that each class covers

    def _shelves(self, total: int, drawn: int, limit_bytes: int, folder: Path | None) -> list[np.ndarray]:
        """Room for images and labels, in memory or in a file."""
        side = self._layout.side
        shapes = (total, self._layout.own_channels, side, side), (drawn, side, side)
        need = sum(map(math.prod, shapes))
        if need <= limit_bytes:
            return [np.zeros(shape, np.uint8) for shape in shapes]
        self.notes.append(
            f"the {total} slices need {need / 2**20:,.0f} MB, more than the {limit_bytes / 2**20:,.0f} allowed: they are kept "
            "in a file and read as they are needed"
        )
        return [_in_file(shape, folder) for shape in shapes]

    def _is_drawn(self, case: Case) -> bool:
        return bool(self._classes) and case.label is not None

    def read(self, case: Case) -> Steps[None]:
        """Reads ``case`` in."""
        volumes = case.read_channels(self._warned)
        slices, volume = self._layout.of(volumes), volumes[0]
        truth = case.read_labels(self._classes, volume) if self._is_drawn(case) else None
        self._doubt(case, volume, truth)
        digest = image_hash(*volumes)
        at, labelled = self._filled, self._labelled
        if at + slices.count > len(self._rows):
            raise InputError(f"{str(case.image)!r} has changed while it was read; start again")
        for first, last in slices.chunks():
            self._images[at + first : at + last] = np.rint(slices.prepared(first, last) * 255)
            if truth is not None:
                self._labels[labelled + first : labelled + last] = slices.prepared_labels(truth, first, last)
            yield Step(last / slices.count, f"Reading slices: {case.name}")
        self._keep(case, volume, slices, truth is not None, digest)

    def _doubt(self, case: Case, volume: Volume, truth: np.ndarray | None) -> None:
        """Keeps what the image and its labels let doubt."""
        if label_map_notes(volume):
            self._warned.append(
                f"{str(case.image)!r}: it holds a few values only, as label maps do; if it is one, give the image itself"
            )
        if truth is None:
            return
        counts = label_counts(truth, 256)[1 : len(self._classes) + 1]
        self._shares[case.name] = (counts / truth.size).tolist()
        if (sparse := sparse_slices(truth, volume.spacing)) is not None:
            axis, numbers = sparse
            shown = ", ".join(map(str, numbers[:6])) + (", ..." if len(numbers) > 6 else "")
            self._sparse.append(f"{case.name}: {shown} along {axis}")

    def _keep(self, case: Case, volume: Volume, slices, is_drawn: bool, digest: str) -> None:
        """Counts the slices that were just read in."""
        here = slice(self._filled, self._filled + slices.count)
        self._owner[here] = len(self._names)
        self._height[here] = np.linspace(0, 1, slices.count) if slices.count > 1 else 0.5
        self._boxes[here] = slices.box
        if is_drawn:
            self._rows[here] = np.arange(self._labelled, self._labelled + slices.count)
            self._labelled += slices.count
        self._filled = here.stop
        self._names.append(case.name)
        self._hashes[case.name] = digest
        self._looks.append(look_of(slices))
        self._padded += [f"{case.name}: {note}" for scale in slices.scales for note in scale.notes]
        if volume.is_rgb and not self._layout.colour and _COLOUR not in self.notes:
            self.notes.append(_COLOUR)
        if slices.cut_share > 0.01:
            self._cut.append(slices.cut_share)

    def bank(self, device: torch.device) -> SliceBank:
        """What was filled, on ``device`` if there is room."""
        if not self._filled:
            raise InputError("none of the images can be used: " + "; ".join(self.notes))
        if self._cut:
            self.notes.append(
                f"{len(self._cut)} of {len(self._names)} images are larger than a slice: up to {max(self._cut):.0%} of them is "
                "cut off"
            )
        if self._padded:
            more = f" (and {len(self._padded) - 1} more of this kind)" if len(self._padded) > 1 else ""
            self.notes.append(f"{self._padded[0]}{more}")
        if self._sparse:
            shown = "; ".join(self._sparse[:3]) + ("; ..." if len(self._sparse) > 3 else "")
            self.notes.append(
                f"{len(self._sparse)} of {len(self._shares)} labelled cases are drawn on single slices alone ({shown}), and those between "
                "them count as background; fill them first, with few-shot, and train then"
            )
        self.notes += [*covering_notes(self._shares, self._classes), *grouped_warnings(self._warned)]
        n = self._filled
        images, labels = self._on(device, self._images[:n], self._labels[: self._labelled])
        return SliceBank(
            device, self._layout, tuple(self._names), images, labels, self._rows[:n], self._owner[:n], self._height[:n],
            self._boxes[:n], self._hashes, self.notes, self._looks,
        )  # fmt: skip

    def _on(self, device: torch.device, images: np.ndarray, labels: np.ndarray):
        """Both as tensors on ``device``; as they are where they lie in a file or do not fit."""
        if isinstance(images, np.memmap):
            return images, labels
        need, room = images.nbytes + labels.nbytes, _room_on(device)
        if need <= room:
            return tuple(torch.from_numpy(a).to(device) for a in (images, labels))
        self.notes.append(
            f"the slices need {need / 2**20:,.0f} MB, more than the {room / 2**20:,.0f} that the graphics device can spare: they "
            "are kept in the computer's memory and brought there as they are needed"
        )
        return images, labels


def _room_on(device: torch.device) -> float:
    """Bytes that slices may take on ``device``, so that most of it is left for the network."""
    if device.type != "cuda":
        return float("inf")  # the memory is the computer's own, which limit_bytes is about
    return _DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]


def _in_file(shape: tuple[int, ...], folder: Path | None) -> np.ndarray:
    """Zeros in a file that vanishes with the process."""
    if 0 in shape:
        return np.zeros(shape, np.uint8)
    try:
        file = tempfile.TemporaryFile(prefix=".slices", dir=folder)
        file.truncate(int(np.prod(shape)))
        return np.memmap(file, np.uint8, "r+", shape=shape)
    except OSError as error:
        raise ResourceError(
            f"no file of {np.prod(shape) / 2**20:,.0f} MB for the slices can be made in {str(folder)!r} ({error.strerror}); free "
            "some space or set a smaller side"
        ) from error
