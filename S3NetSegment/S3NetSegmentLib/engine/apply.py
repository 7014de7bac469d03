"""A trained model on a volume: segments with the model's names and colours on the volume's own grid, and confidence."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from .common.device import choose_device, is_out_of_memory
from .common.errors import InputError
from .common.fallback import BatchFallback
from .common.progress import Step, Steps, T, drain
from .common.provenance import MODEL, OutcomeFacts, TaskFacts, provenance
from .images import Segment, Segmentation, Volume
from .images.image_warnings import label_map_notes
from .images.intensity import intensity_scale
from .nets.unet import ByLayers, TwoStreamUNet, finished
from .nets.weights.store import file_digest
from .training.likeness import look_of
from .training.model_file import Model
from .training.slice_layout import VolumeSlices, is_made_in_slices, plane_of

_BATCH, _SHORT_BATCH = {"cpu": 4}, {"cpu": 1, "cuda": 4, "mps": 2}  # slices at a time; 32 where nothing is said
_RESTORED = 1 << 19  # probabilities that are brought to the volume's own pixels at a time
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
    """A segmenter that is ready for use.

    :param model: of kind "segmenter".
    :param network: its network, if it is built already (then on its device).
    :raises InputError: a model of another kind, or weights that do not fit.
    """

    def __init__(self, model: Model, device: str | torch.device = "auto", network: torch.nn.Module | None = None):
        if model.kind != "segmenter":
            raise InputError(f"a model of kind {model.kind} cannot segment; fine-tune it first")
        self.model = model
        self._device = device if isinstance(device, torch.device) else choose_device(device)
        self._network = model.build() if network is None else network

    def segment(self, volume: Volume, *, confidence: bool = False, short_steps: bool = False) -> Steps[ModelAnswer]:
        """Labels of ``volume``. Memory beyond the labels (and the confidence) is bounded, whatever the size of the volume.

        :param short_steps: few slices at a time, and on a CPU one layer of the network at a time, for a window that must stay
            alive. The labels are the same; it takes a little longer.
        :raises InputError: an image without contrast.
        :raises ResourceError: the memory does not suffice for a single slice.
        """
        notes = self._notes(volume)
        yield Step(0.0, "Looking at the intensities")
        scale = intensity_scale(volume)
        slices = self.model.layout.of(volume, scale)
        unlike = None if self.model.looks is None else self.model.looks.warning(look_of(slices, scale))
        notes += [*([unlike] if unlike else ()), *scale.notes]
        labels = np.zeros(volume.array.shape[:3], np.uint8)
        sureness = np.zeros(labels.shape, np.float16) if confidence else None
        views = [slices.oriented(a) for a in (labels, sureness) if a is not None]
        pixels = slices.native[0] * slices.native[1] * (len(self.model.classes) + 1)
        kind = self._device.type
        batch = max(1, min((_SHORT_BATCH if short_steps else _BATCH).get(kind, 32), _ROOM // (4 * pixels)))
        fallback = BatchFallback(self._device, batch, notes, "the model")
        first = 0
        while first < slices.count:
            step = Step(first / slices.count, f"Applying the model: slice {first + 1} of {slices.count}")
            yield step
            found = None
            if short_steps and fallback.device.type == "cpu":
                found = yield from _steps_while(step, self._found(slices, first, first + 1, fallback.device))
            if found is None:
                found = fallback.run(partial(self._batch, slices, first))
            for view, part in zip(views, found, strict=False):
                view[first : first + len(part)] = part
            first += len(found[0])
        if not labels.any():
            notes.append(f"the model found nothing in image {volume.name!r}: all segments are empty")
        return ModelAnswer(labels, sureness, tuple(notes), fallback.device.type)

    def _batch(
        self, slices: VolumeSlices, first: int, device: torch.device, size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        return finished(self._found(slices, first, first + size, device))

    @torch.inference_mode()
    def _found(
        self, slices: VolumeSlices, first: int, last: int, device: torch.device
    ) -> ByLayers[tuple[np.ndarray, np.ndarray]]:
        """Labels and their probabilities of some slices at the volume's own pixels, ``[n, rows, columns]`` each."""
        planes = slices.prepared(first, min(last, slices.count))
        yield
        network = self._network.to(device)
        logits = yield from _by_layers(network, torch.from_numpy(planes)[:, None].to(device))
        probabilities = logits.float().softmax(1)
        at_once = max(1, _RESTORED // (len(planes) * slices.native[0] * slices.native[1]))
        first_part, *parts = probabilities.split(at_once, 1)
        yield
        sure, labels = slices.restored(first_part, 0).max(1)
        for number, part in enumerate(parts, 1):
            yield
            best, which = slices.restored(part, number * at_once).max(1)
            which += number * at_once
            better = best > sure
            sure, labels = torch.where(better, best, sure), torch.where(better, which, labels)
        yield
        return labels.to("cpu", torch.uint8).numpy(), sure.cpu().numpy()

    def _notes(self, volume: Volume) -> list[str]:
        notes, layout = self.model.doubts(), self.model.layout
        slices = layout.of(volume)
        if is_made_in_slices(volume) and plane_of(volume) != layout.plane:
            notes.append(
                f"the model was trained on {layout.plane} slices, but this image was made in {plane_of(volume)} slices: expect "
                "a poor result"
            )
        if slices.cut_share > 0.01:
            notes.append(
                f"the model sees the middle {layout.side * layout.spacing:.0f} mm of a slice; {slices.cut_share:.0%} of this image "
                "lies outside and is taken as background"
            )
        notes += label_map_notes(volume)
        if volume.is_rgb:
            notes.append("the image is in colour; the model sees its lightness only")
        return notes


def _by_layers(network: torch.nn.Module, images: torch.Tensor) -> ByLayers[torch.Tensor]:
    if isinstance(network, TwoStreamUNet):
        return (yield from network.by_layers(images))
    return network(images)


def _steps_while(step: Step, layers: ByLayers[T]) -> Steps[T | None]:
    """``step`` again after each of ``layers``, and their result; None if the memory was not enough for them."""
    try:
        while True:
            next(layers)
            yield step
    except StopIteration as end:
        return end.value
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def as_segmentation(
    model: Model, labels: np.ndarray, volume: Volume, tags: Mapping[str, str] | None = None
) -> Segmentation:
    """Labels of :class:`ModelAnswer` as segments with the model's names, colours and terminology, also empty ones."""
    segments = [
        Segment(c.name, c.color, number, terminology=c.terminology, tags=dict(tags or {}))
        for number, c in enumerate(model.classes, 1)
    ]
    return Segmentation([labels], segments, volume.ijk_to_ras)


def model_tags(model: Model, path: str | os.PathLike, device: str, image: str = "") -> dict[str, str]:
    """Segment tags that say how a result was made."""
    made = model.provenance
    training = (
        f"{made.get('method', '?')}, preset {made.get('preset', '?')}, {made.get('steps', '?')} steps, "
        f"{made.get('labelled_cases', '?')} labelled cases, seed {made.get('seed', '?')}"
    )
    digest = drain(file_digest(Path(path)))
    task = TaskFacts(MODEL, image, model=Path(path).name, model_sha256=digest, training=training)
    return provenance(task, OutcomeFacts(device))
