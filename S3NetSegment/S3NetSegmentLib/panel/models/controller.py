"""``ModelController`` applies a model file to a volume, step by step; ``model_steps`` does so for scripts;
``model_text`` is what a model file says of itself. No widgets."""

from __future__ import annotations

import dataclasses
import html
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from slicer.i18n import tr as _

from ...engine import InputError, Segmentation, Step, Volume
from ...engine.common.device import torch_loaded
from ...engine.common.progress import Steps, as_part_of
from ...engine.images.colors import hex_color
from ...engine.results import frame_notes, frame_steps
from ...engine.training.model.places import model_files
from ...scene.answers.confidence import ConfidenceOverlay, doubtful_part
from ...scene.segmentation.reading import write_model_answer
from ...scene.sequences import frame_of, frame_volumes, write_frames
from ...scene.volumes import turning_notes, volume_from_node
from ..messages import sentence
from ..run import Controller, Listener
from ..script import warn_of_other_grid
from ..script_checks import require_segmentation, while_they_stay


@dataclass(eq=False)
class ModelRequest:
    """What is to be done: the models in the files that ``path`` means on a volume.

    :param segmentation_node: where the segments go; None: a new segmentation.
    :param confidence: also show how sure each voxel is. ``flips``: also look at mirrored slices.
    :param all_frames: of a volume that shows a frame of a sequence, all frames; the answer is a new segmentation that follows them.
    :raises InputError: there is no file name, or the volume cannot be segmented.
    """

    path: str | tuple[str, ...]
    volume_node: object
    segmentation_node: object = None
    confidence: bool = False
    device: str = "auto"
    flips: bool = False
    all_frames: bool = False
    volume: Volume = field(init=False)
    volumes: list[Volume] = field(init=False)  # the frames, or the volume alone
    shown: int = field(init=False)  # which of them the volume is

    def __post_init__(self):
        if not self.path:
            raise InputError(_("no model file is chosen; choose the model.pt of a training run"))
        self.volume = volume_from_node(self.volume_node)
        frame = frame_of(self.volume_node) if self.all_frames else None
        self.all_frames = frame is not None
        self.volumes, self.shown = (
            ([self.volume], 0) if frame is None else (frame_volumes(self.volume_node), frame[0] - 1)
        )


class ModelFiles:
    """Reads model files, and keeps the last ones as long as their files are the same."""

    def __init__(self):
        self._key = self._models = None

    def read(self, path):
        """The segmenters (``engine.training.model.ensemble.Ensemble``) in the files that ``path`` means. Imports torch.

        :raises InputError: missing, damaged, of another program or version, no segmenter, or models that cannot answer together.
        """
        from ...engine.training.model.ensemble import load_ensemble

        try:
            files = model_files(path)
            facts = [(os.path.realpath(file), os.stat(file)) for file in files]
            key = [(place, of.st_mtime_ns, of.st_size) for place, of in facts]
        except OSError:
            key = None
        if key is None or key != self._key:
            self._models = load_ensemble(files)
            self._key = key
        return self._models


def apply_model_steps(request: ModelRequest, files: ModelFiles | None = None) -> Steps[tuple]:
    """Steps of applying the model; they return ``(answer, segmentations)``: the engine's ModelAnswer about the volume, with the notes
    of all frames and the confidence as it is to be shown, and a Segmentation of each frame. Writes nothing."""
    yield from torch_loaded("apply")
    yield Step(0.0, _("Reading the model"))
    from ...engine.apply import ModelSegmenter, as_segmentation, model_tags

    yield Step(0.0, _("Reading the model"))
    models = (files or ModelFiles()).read(request.path)
    yield Step(0.0, _("Building the network"))
    segmenter = ModelSegmenter(models, request.device, flips=request.flips)

    def look_at(frame: int, volume: Volume) -> Steps:
        return segmenter.segment(volume, confidence=request.confidence and frame == request.shown, short_steps=True)

    found = yield from as_part_of(frame_steps(request.volumes, look_at), 0.0, 0.98)
    # The file of the model is read for its tags: once, unless the memory of the GPU did not suffice for some frames.
    tags = {
        device: model_tags(models, device, request.volume.name, flips=request.flips)
        for device in {one.device for one in found}
    }
    segmentations = [
        as_segmentation(models, one.labels, volume, tags[one.device])
        for one, volume in zip(found, request.volumes, strict=True)
    ]
    notes = (*frame_notes([one.notes for one in found]), *turning_notes(request.volume_node))
    answer = dataclasses.replace(found[request.shown], notes=notes)
    if answer.confidence is not None:
        yield Step(0.98, _("Preparing the confidence"))
        shown = doubtful_part(answer.confidence, answer.labels)
        answer = dataclasses.replace(answer, confidence=shown)
    yield Step(0.99, _("Writing the segments"))
    return answer, segmentations


def write_found(request: ModelRequest, segmentations: list[Segmentation], segmentation_node, save_undo=None):
    """Writes what :func:`apply_model_steps` found; returns the node."""
    if request.all_frames:
        return write_frames(segmentations, request.volume_node)
    return write_model_answer(segmentations[0], request.volume_node, segmentation_node, save_undo)[0]


def show_model_confidence(request: ModelRequest, answer) -> ConfidenceOverlay:
    overlay = ConfidenceOverlay(request.volume_node, "model confidence")  # no translation
    overlay.show(answer.confidence, request.volume)
    return overlay


class ModelController(Controller):
    """The scene is written once, at the end of a run; a run is dropped when its volume goes or changes or the scene closes.

    Attributes: ``node`` (the segmentation that holds the last answer, or None), ``files`` (the models read), ``overlay`` (the
    confidence that is shown, or None).
    """

    def __init__(self, listener: Listener, save_undo: Callable[[object], object] | None = None):
        super().__init__(listener, _("Applying the model was stopped: {reason}."))
        self._save_undo = save_undo
        self.files = ModelFiles()
        self.node = None
        self._request: ModelRequest | None = None
        self.overlay: ConfidenceOverlay | None = None

    def start(self, request: ModelRequest) -> None:
        """Applies the model and writes its segments."""
        self._begin(request, self._written)

    def show_confidence(self, request: ModelRequest) -> None:
        """Computes how sure each voxel is and lays it over the image; the segments stay as they are."""
        self._begin(request, self._confidence_known)

    def hide_confidence(self) -> None:
        if self.overlay is not None:
            self.overlay.hide()
        self.overlay = None

    def stop(self) -> None:
        self.cancel()
        self.node = self.overlay = None

    def _begin(self, request: ModelRequest, finish: Callable) -> None:
        if not self.running:
            self._request = request
            self._run.start(apply_model_steps(request, self.files), lambda found: finish(*found), [request.volume_node])

    def _written(self, answer, segmentations) -> list[str]:
        request, node = self._request, self._request.segmentation_node
        if node is not None and node.GetScene() is None:
            node = None  # removed meanwhile
        self.node = write_found(request, segmentations, node, self._save_undo)
        self.hide_confidence()
        if answer.confidence is not None:
            self._confidence_known(answer, segmentations)
        return _as_text([*answer.notes, *self._missing(segmentations)])

    def _confidence_known(self, answer, _segmentations) -> list[str]:
        self.overlay = show_model_confidence(self._request, answer)
        return _as_text(answer.notes)

    @staticmethod
    def _missing(segmentations) -> list[str]:
        segments = segmentations[0].segments
        lacking = [s.name for s in segments if not any((found.layers[0] == s.value).any() for found in segmentations)]
        some = 0 < len(lacking) < len(segments)  # of none at all the answer's notes tell
        return [_("not found in this image: {lacking}").format(lacking=", ".join(lacking))] if some else []


def _as_text(notes) -> list[str]:
    """One text for the message row, none without notes."""
    return [" ".join(map(sentence, notes))] if notes else []


def model_steps(
    volume_node, path, segmentation_node=None, confidence=False, device="auto", flips=False, all_frames=False
) -> Steps:
    """See ``S3NetSegmentLogic.applyModel``. Returns the segmentation node."""
    request = ModelRequest(path, volume_node, segmentation_node, confidence, device, flips, all_frames)
    require_segmentation(segmentation_node, "segmentationNode")
    if all_frames and segmentation_node is not None:
        raise InputError(_("all frames get a new segmentation, which follows them; leave segmentationNode out"))
    if all_frames and not request.all_frames:
        text = _("{name} shows no frame of a sequence; leave allFrames out")
        raise InputError(text.format(name=repr(volume_node.GetName())))
    steps = apply_model_steps(request)
    answer, segmentations = yield from while_they_stay(steps, volume_node, segmentation_node)
    for note in answer.notes:
        logging.warning("S3NetSegment: %s", note)
    warn_of_other_grid(segmentation_node, volume_node)
    node = write_found(request, segmentations, segmentation_node)
    if confidence:
        show_model_confidence(request, answer)
    return node


def model_text(summary: Mapping) -> str:
    """The classes, what the model was trained on, and how good it was where its state was chosen.

    :param summary: of ``engine.training.model.ensemble.Ensemble.summary``.
    """
    models = summary.get("models", [summary])
    classes = "&nbsp; ".join(
        f'<span style="color:{hex_color(c["color"])}">&#9632;</span>&nbsp;{html.escape(c["name"])}'
        for c in summary["classes"]
    )
    if len(models) > 1:
        names = html.escape(", ".join(model["file"] for model in models))
        told = [f"{html.escape(m['file'])}: {_validation(m)}" for m in models]
        return _("Finds: {classes}<br>{models} models whose answers are averaged: {names}<br>{told}").format(
            classes=classes, models=len(models), names=names, told="<br>".join(told)
        )
    return f"Finds: {classes}<br>{_training(summary)}<br>{_validation(summary)}"


def _training(summary: Mapping) -> str:
    made, slices = summary["provenance"], summary["slices"]
    method = f"{made.get('method', _('unknown method'))}, preset {made.get('preset', '?')}"
    images = made.get("training_cases", summary["training_cases"])
    labelled = made.get("labelled_cases")
    patients = made.get("labelled_patients")
    drawn = _(", {labelled} of them labelled").format(labelled=labelled) if labelled is not None else ""
    drawn += f" ({counted(patients, 'patient')})" if patients is not None else ""
    kept = [
        text.format(cases=counted(made[name], _("labelled case")))
        for name, text in (
            ("validation_cases", _("{cases} more chose its state")),
            ("test_cases", _("{cases} more kept for the test")),
        )
        if made.get(name)
    ]
    drawn += "".join(f", {text}" for text in kept)
    size = _("{plane} slices, {spacing:.3g} mm per pixel").format(plane=slices["plane"], spacing=slices["spacing"])
    if slices.get("depth", 1) > 1:
        size += _(", in 3D patches of {depth}, {thickness:.3g} mm apart").format(
            depth=slices["depth"], thickness=slices["thickness"]
        )
    steps = f", {made['steps']} steps" if "steps" in made else ""
    return html.escape(
        _("Trained on {images}{drawn}; {size}; {method}{steps}.").format(
            images=counted(images, "image"), drawn=drawn, size=size, method=method, steps=steps
        )
    )


def _validation(summary: Mapping) -> str:
    measured = summary["validation"]
    if not isinstance(measured.get("score"), float):
        return _("Not validated: no labelled case was held out, so nothing is known about how good it is.")
    each = [
        f"{html.escape(c['name'])}&nbsp;{100 * value:.0f}&nbsp;%"
        for c in summary["classes"]
        if isinstance(value := measured.get(f"dice {c['name']}"), float)
    ]
    cases = measured.get("cases", summary["provenance"].get("validation_cases"))
    where = _(" on {cases} that chose its state").format(cases=counted(cases, "case")) if cases else ""
    return _("Validation (Dice){where}: {scores}.").format(
        where=where, scores=", ".join(each) or format(measured["score"], ".2f")
    )


def counted(number: int, what: str) -> str:
    """E.g. "3 images"."""
    return f"{number} {what}{'' if number == 1 else 's'}"
