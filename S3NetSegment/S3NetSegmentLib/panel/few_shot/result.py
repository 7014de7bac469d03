"""``FewShotResult``: an answer of Few-shot, shown as a preview until the user accepts it."""

from __future__ import annotations

from dataclasses import dataclass

from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.few_shot.answer import is_empty, reason
from ...engine.few_shot.answer import notes as outlook_notes
from ...engine.few_shot.drawings.support import DrawnPlane
from ...scene.answers.accepted_answer import AcceptedAnswer
from ...scene.answers.confidence import ConfidenceOverlay, doubtful_part
from ...scene.answers.preview import FewShotPreview
from ...scene.answers.provenance import few_shot_tags
from ...scene.drawings.support_set import SupportPlane, SupportSlice
from ...scene.segmentation.segment_slices import RESPECTFUL, EditingRules
from .request import FewShotRequest

FEW_SHOT_CONFIDENCE = "few-shot confidence"  # no translation


@dataclass(frozen=True)
class Quality:
    """How good one segment is expected to be: ``dice`` from 0 to 1."""

    name: str
    color: tuple[float, float, float]
    dice: float

    @property
    def word(self) -> str:
        """For people who do not think in Dice."""
        if self.dice >= 0.9:
            return _("very good")
        if self.dice >= 0.8:
            return "good"
        return _("fair, look it over") if self.dice >= 0.6 else _("poor, draw another slice")


class FewShotResult:
    """The answer to ``request`` so far. Making it puts the preview into the scene.

    Attributes: ``request``, ``answer`` (the engine's latest), ``preview``, ``is_partial`` (the latest is a quick one for one slice),
    ``is_whole`` (all that was asked for has been answered),
    ``accepted`` (the answer as it was written, or None), ``state`` (then the content of all segments), ``overlay`` (of its confidence).
    """

    def __init__(self, request: FewShotRequest):
        self.request, self.answer, self.encoder = request, None, None
        self.is_partial, self.is_whole, self.accepted, self.state = True, False, None, None
        self.overlay = ConfidenceOverlay(request.target_node, FEW_SHOT_CONFIDENCE)
        segmentation = None if request.is_other_volume else request.segmentation_node
        self.preview = FewShotPreview(
            segmentation,
            request.target_node,
            request.segments,
            request.support,
            request.segmentation_node,
            request.layers,
        )
        segment = request.segmentation_node.GetSegmentation().GetSegment
        self._look = {v: (segment(i).GetName(), tuple(segment(i).GetColor())) for v, i in request.segments.items()}

    @property
    def is_open(self) -> bool:
        return self.preview.is_shown and self.accepted is None

    def show(self, request: FewShotRequest, answer, encoder=None, partial: bool = False) -> None:
        """Shows ``answer`` to ``request``, which may be a later one about the same segments.

        :param encoder: the engine's encoder that it was made with, or None.
        :param partial: a quick one for the shown slice or plane; else it is all that was asked for.
        """
        axis, slices, plane = answer.axis, None, None
        if partial:
            slices, plane = request.quick_slices, request.shown_plane
        elif request.only_shown and request.shown_plane is not None:
            slices, plane = request.shown_plane.slices_in(request.volume, axis), request.shown_plane
        elif request.only_shown:
            axis, index = request.shown.place
            slices = (index, index)
        self.request, self.answer, self.encoder, self.is_partial = request, answer, encoder, partial
        self.is_whole = self.is_whole or not partial
        self.preview.show(answer.layers, axis, slices, request.support, plane)

    def fits(self, request: FewShotRequest) -> bool:
        """Whether an answer to ``request`` can go on in this preview."""
        known = self.request
        return (
            self.is_open
            and known.target_node is request.target_node
            and known.segmentation_node is request.segmentation_node
            and known.segments == request.segments
            and known.layers == request.layers
        )

    def accept(self, save_undo=None, rules: EditingRules = RESPECTFUL) -> AcceptedAnswer:
        if not self.is_open:
            raise InputError(_("the preview is gone; propagate again"))
        self.accepted = self.preview.accept(save_undo, self._tags(), rules)
        return self.accepted

    def discard(self) -> None:
        """Takes the preview and the confidence out of the scene."""
        self.preview.reject()

    # -- what it says

    def qualities(self) -> list[Quality]:
        """What to expect of each segment, in their order. Nothing for a quick answer. The method takes what is drawn for right; of
        what was found in boxes or at clicks only so much is expected as of these slices themselves."""
        if self.answer is None or self.is_partial:
            return []
        expected, drawn = self.answer.expected_dice, self.request.expected
        return [Quality(*self._look[v], drawn.get(v, 1.0) * expected[v]) for v in sorted(expected) if v in self._look]

    def next_slice(self) -> tuple[str, int] | None:
        """Where drawing helps most, as (axis, index); None if nothing is in doubt."""
        if self.answer is None or self.is_partial:
            return None
        drawn = {s.place for s in self.request.support}
        for index, _wrong in self.answer.next_slices:
            if (self.answer.axis, index) not in drawn:
                return self.answer.axis, index
        return None

    def reason(self, index: int) -> str:
        """Why slice ``index`` along the answer's axis is the one to draw; "" where nothing is known."""
        return reason(self.answer.outlook, index, self._names)

    def is_expected_empty(self, index: int) -> bool:
        """Whether slice ``index`` along the answer's axis is expected to show none of the segments."""
        return is_empty(self.answer.outlook, index)

    @property
    def notes(self) -> list[str]:
        if self.answer is None:
            return list(self.request.notes)
        ends = [] if self.is_partial else outlook_notes(self.answer.outlook, self._names)
        return [*self.request.notes, *self.answer.notes, *ends]

    @property
    def _names(self) -> dict[int, str]:
        return {value: name for value, (name, _) in self._look.items()}

    def show_confidence(self) -> None:
        self.overlay.show(doubtful_part(self.answer.confidence, self.answer.labels), self.request.volume)

    # -- inside

    def _tags(self) -> dict[str, str]:
        request = self.request
        support, drawn_on = request.support, ""
        if request.is_other_volume:
            drawing = request.items[0]
            planes = [d for d in drawing.drawings if isinstance(d, DrawnPlane)]
            support = [SupportSlice(drawing.axis, n) for n in drawing.drawn or ()]
            support += [SupportPlane(tuple(p.plane_to_ras.ravel().tolist()), p.labels.shape) for p in planes]
            drawn_on = request.volume_node.GetName()
        target, drawing = request.target_node.GetName(), request.segmentation_node.GetName()
        return few_shot_tags(request.settings, target, support, self.answer, self.encoder, drawing, drawn_on)
