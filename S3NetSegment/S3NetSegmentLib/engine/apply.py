"""Trained models on a volume: segments with their names and colours on the volume's own grid, and confidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from .common.device import BatchFallback, choose_device, one_threaded
from .common.progress import Step, Steps, in_thread, run_to_end
from .common.provenance import MODEL, OutcomeFacts, TaskFacts, provenance
from .images import Segment, Segmentation, Volume
from .images.image_warnings import label_map_notes
from .images.segmentation import distinct_values, label_type
from .nets.weights.store import file_digest
from .training.model.ensemble import Ensemble
from .training.model.model_file import Model
from .training.model.sliding_window import Stack, Windows
from .training.slices.layout import SliceLayout, VolumeSlices, is_made_in_slices, plane_of
from .training.slices.likeness import look_of

_BATCH, _SHORT_BATCH = {"cpu": 4}, {"cpu": 1, "cuda": 4, "mps": 2}  # slices at a time; 32 where nothing is said
_SMALL_SIDE = (
    64  # pixels; with several threads such slices gain nothing, and beside other programs they take ten times as long
)
_RESTORED = 1 << 19  # probabilities that are brought to the volume's own pixels at a time
_FLIPS = ((), (-1,))  # the axes along which a slice is mirrored: as it is, and as training mirrors (left and right)
_ROOM = 256 << 20  # bytes of probabilities at the volume's own pixels that are held at a time


@dataclass(frozen=True, eq=False)
class ModelAnswer:
    """What :meth:`ModelSegmenter.segment` found.

    :param labels: uint8 ``[K, J, I]``, 0 background, 1 the model's first class, and so on.
    :param confidence: float16 ``[K, J, I]``, the probability, 0 to 1, of each voxel's label; None if not asked for.
    :param notes: sentences that the user should read.
    """

    labels: np.ndarray
    confidence: np.ndarray | None
    notes: tuple[str, ...]
    device: str


class ModelSegmenter:
    """One or several models, ready for use; the probabilities of several are averaged.

    :param models: segmenters.
    :param network: of a single model, if it is built already (then on its device).
    :param flips: whether each slice is also looked at with left and right exchanged, and both answers are averaged; it takes twice
        as long. Good for models that were trained on mirrored slices (the setting ``flip``), bad for others.
    :raises InputError: a model of another kind, models that cannot answer together, or weights that do not fit.
    """

    def __init__(
        self,
        models: Ensemble | Model,
        device: str | torch.device = "auto",
        network: torch.nn.Module | None = None,
        *,
        flips: bool = False,
    ):
        self.models = models if isinstance(models, Ensemble) else Ensemble((models,))
        self._device = device if isinstance(device, torch.device) else choose_device(device)
        self._networks = [m.build() for m in self.models.members] if network is None else [network]
        self._mirrored = _FLIPS if flips else _FLIPS[:1]

    def segment(
        self, images: Volume | Sequence[Volume], *, confidence: bool = False, short_steps: bool = False
    ) -> Steps[ModelAnswer]:
        """Labels of an image. Memory beyond the labels (and the confidence) is bounded, whatever the size of the volume.

        :param images: the image; where the models were trained on several channels, one volume for each.
        :param short_steps: few slices at a time, in a thread of their own, for a window that must stay alive. The labels are the
            same.
        :raises InputError: an image without contrast, other channels than those of the training, or not on one grid.
        :raises ResourceError: the memory does not suffice for a single slice.
        """
        layouts = [m.layout for m in self.models.members]
        small = self._device.type == "cpu" and all(not s.is_3d and s.side <= _SMALL_SIDE for s in layouts)
        return (one_threaded(self._segment) if small else self._segment)(images, confidence, short_steps)

    def _segment(self, images: Volume | Sequence[Volume], confidence: bool, short_steps: bool) -> Steps[ModelAnswer]:
        volumes = (images,) if isinstance(images, Volume) else tuple(images)
        volume, notes = volumes[0], self.models.doubts()
        first_layout, *others = dict.fromkeys(m.layout for m in self.models.members)
        slices = first_layout.of(volumes)  # refuses an image of other channels; all models look at the same ones
        yield (step := Step(0.0, "Looking at the intensities"))
        each = {first_layout: slices, **{layout: layout.of(volumes, slices.scales) for layout in others}}
        stacks = {layout: Stack(s) for layout, s in each.items() if layout.is_3d}
        notes += self._notes(volume, list(each.values()))
        looking = partial(look_of, slices)
        look = (yield from in_thread(looking, step, abandoned=True)) if short_steps else looking()
        unlike = self.models.unlikeness(look)
        notes += [*([unlike] if unlike else ()), *(note for one in slices.scales for note in one.notes)]
        labels = np.zeros(volume.array.shape[:3], np.uint8)
        sureness = np.zeros(labels.shape, np.float16) if confidence else None
        views = [slices.oriented(a) for a in (labels, sureness) if a is not None]
        pixels = max(math.prod(size) for s in each.values() for size in (s.native, s.scaled))
        pixels *= (len(self.models.classes) + 1) * len(each)
        kind = self._device.type
        batch = max(1, min((_SHORT_BATCH if short_steps else _BATCH).get(kind, 32), _ROOM // (4 * pixels)))
        fallback = BatchFallback(self._device, batch, notes, "the model")
        first, count = 0, slices.native_count
        while first < count:
            step = Step(first / count, f"Applying the model: slice {first + 1} of {count}")
            yield step
            work = partial(fallback.run, partial(self._found, each, stacks, first))
            # A patch of a volume takes seconds: who cancels does not wait for its end.
            found = (yield from in_thread(work, step, abandoned=True)) if short_steps else work()
            for view, part in zip(views, found, strict=False):
                view[first : first + len(part)] = part
            first += len(found[0])
        holes = (s.without_number(v.array) for s, v in zip(slices.scales, volumes, strict=True))
        empty = [one for one in holes if one is not None]
        if len(empty) == len(volumes):  # nor is there a value in another channel
            labels[np.logical_and.reduce(empty)] = 0
        if not labels.any():
            notes.append(f"the model found nothing in image {volume.name!r}: all segments are empty")
        return ModelAnswer(labels, sureness, tuple(notes), fallback.device.type)

    @torch.inference_mode()
    def _found(
        self,
        each: Mapping[SliceLayout, VolumeSlices],
        stacks: Mapping[SliceLayout, Stack],
        first: int,
        device: torch.device,
        count: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Labels and their probabilities of ``count`` slices, fewer at the end, at the volume's own pixels, ``[n, rows, columns]``
        each."""
        probabilities = []
        for layout, slices in each.items():
            last = min(first + count, slices.native_count)
            if layout in stacks:
                probabilities.append(stacks[layout].at(first, last, device, partial(self._mean, layout)))
            else:
                planes = torch.from_numpy(slices.resampled(first, last)).to(device)
                probabilities.append(self._mean(layout, planes))
        several = list(each.values())
        at_once = max(1, _RESTORED // (len(probabilities[0]) * math.prod(several[0].native)))
        sure = labels = torch.empty(0)
        for number, parts in enumerate(zip(*(p.split(at_once, 1) for p in probabilities), strict=True)):
            restored = several[0].restored(parts[0])
            for slices, part in zip(several[1:], parts[1:], strict=True):
                restored += slices.restored(part)
            best, which = restored.max(1)
            which += number * at_once
            if not number:
                sure, labels = best, which
                continue
            better = best > sure
            sure, labels = torch.where(better, best, sure), torch.where(better, which, labels)
        return labels.to("cpu", torch.uint8).numpy(), sure.cpu().numpy()

    def _mean(self, layout: SliceLayout, planes: torch.Tensor) -> torch.Tensor:
        """The part of all models with this ``layout`` in the mean probabilities of slices or patches, ``[n, classes, *planes' size]``."""
        total: torch.Tensor | None = None
        for model, network in zip(self.models.members, self._networks, strict=True):
            if model.layout != layout:
                continue
            windows = Windows(planes.shape[-2:], layout.side, middle_only=model.knows_middle_only)
            network = network.to(planes.device)
            for axes in self._mirrored:
                part = windows.mean(planes.flip(axes) if axes else planes, partial(_probabilities, network))
                part = part.flip(axes) if axes else part
                total = part if total is None else total.add_(part)
        looks = len(self._networks) * len(self._mirrored)
        assert total is not None  # every layout is that of a model
        return total if looks == 1 else total.div_(looks)

    def _notes(self, volume: Volume, each: Sequence[VolumeSlices]) -> list[str]:
        notes, plane = [], self.models.plane
        if is_made_in_slices(volume) and plane_of(volume) != plane:
            notes.append(
                f"the model was trained on {plane} slices, but this image was made in {plane_of(volume)} slices: expect "
                "a poor result"
            )
        worst = max(each, key=lambda slices: slices.cut_share)
        if worst.cut_share > 0.01:
            layout = worst.layout
            sees = f"{layout.side * layout.spacing:.0f} mm of a slice"
            count = Windows(worst.scaled, layout.side).count
            if all(m.knows_middle_only for m in self.models.members if m.layout == layout):
                notes.append(
                    f"the model was trained on the middle {sees} and sees no more; {worst.cut_share:.0%} of this image lies outside and "
                    "is taken as background. Train it with a larger slice_side, or with slice_spacing 0"
                )
            else:
                notes.append(
                    f"the model sees {sees} at once, and the slices of this image are larger: each was looked at in {count} parts "
                    "that overlap"
                )
        if len(self._mirrored) > 1 and not self.models.know_mirrored:
            notes.append(
                "the model was not trained on mirrored slices (setting flip), and what it finds in them makes the mean worse in most "
                "cases; leave the flips out"
            )
        notes += label_map_notes(volume)
        if volume.is_rgb and not all(slices.layout.colour for slices in each):
            notes.append("the image is in colour; the model sees its lightness only")
        return notes


def _probabilities(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    return network(images).float().softmax(1)


def as_segmentation(
    model: Ensemble | Model, labels: np.ndarray, volume: Volume, tags: Mapping[str, str] | None = None
) -> Segmentation:
    """Labels of :class:`ModelAnswer` as segments with the model's names, label values, colours and terminology, also empty ones."""
    numbers = distinct_values([c.value for c in model.classes])  # a file that others have made may have one twice
    segments = [
        Segment(c.name, c.color, number, terminology=c.terminology, tags=dict(tags or {}))
        for number, c in zip(numbers, model.classes, strict=True)
    ]
    values = np.array([0, *numbers], label_type(max(numbers, default=0)))
    return Segmentation([values[labels]], segments, volume.ijk_to_ras)


def model_tags(models: Ensemble, device: str, image: str = "", *, flips: bool = False) -> dict[str, str]:
    """Segment tags that say how a result was made, by models with files."""
    training = (
        f"{made.get('method', '?')}, preset {made.get('preset', '?')}, {made.get('steps', '?')} steps, "
        f"{made.get('labelled_cases', '?')} labelled cases, seed {made.get('seed', '?')}"
        for made in (model.provenance for model in models.members)
    )
    digests = [run_to_end(file_digest(path)) for path in models.paths]
    task = TaskFacts(
        MODEL, image, model=", ".join(models.names), model_sha256=", ".join(digests),
        training="; ".join(dict.fromkeys(training)), flips="yes" if flips else None,
    )  # fmt: skip
    return provenance(task, OutcomeFacts(device))
