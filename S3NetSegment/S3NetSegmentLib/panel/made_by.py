"""What the panel says below its selectors: how the chosen segment was made, and that a volume is one frame of several."""

from __future__ import annotations

from slicer.i18n import tr as _

from ..engine.common.provenance import FEW_SHOT, MODEL
from ..scene.answers.provenance import made_by, segment_fact
from ..scene.sequences import frame_of
from .widgets.properties import set_property


class MadeByRows:
    """The two labels; hidden while there is nothing to say."""

    def __init__(self, ui):
        self._made_by, self._frame = ui.madeByText, ui.frameText

    def show(self, volume_node, segmentation_node, segment_id: str) -> None:
        """Follows what is chosen; to be called often."""
        made, frame = made_by_text(segmentation_node, segment_id), frame_text(volume_node)
        for label, text in ((self._made_by, made), (self._frame, frame)):
            set_property(label, "text", text)
            label.setVisible(bool(text))


def made_by_text(segmentation_node, segment_id: str) -> str:
    """A sentence on how a segment was made, from its tags, e.g. "Made by Few-shot from drawing z=4,8."; "" for one that nobody
    but the user has made."""
    if (
        segmentation_node is None
        or not segment_id
        or segmentation_node.GetSegmentation().GetSegment(segment_id) is None
    ):
        return ""
    method = made_by(segmentation_node, segment_id)
    if not method:
        return ""

    def fact(name: str) -> str:
        return segment_fact(segmentation_node, segment_id, name) or ""

    if method == FEW_SHOT:
        return _("Made by Few-shot on {image} from {support}.").format(image=fact("Image"), support=fact("Support"))
    if method == MODEL:
        return _("Made by the model {model} on {image}.").format(model=fact("Model"), image=fact("Image"))
    given = [name for name, there in (
        (_("points"), fact("Points")), (_("boxes"), fact("Boxes")), (_("strokes"), fact("Strokes")),
    ) if there]  # fmt: skip
    return _("Made by Segment on {image}, {place}, from {given}.").format(
        image=fact("Image"), place=fact("Place"), given=", ".join(given) or _("the image alone")
    )


def frame_text(volume_node) -> str:
    """That only one frame of a sequence is worked on; "" for other volumes."""
    frame = frame_of(volume_node)
    if frame is None:
        return ""
    return _(
        "Frame {number} of {count} of a sequence: only this frame is segmented. A script does all of them."
    ).format(number=frame[0], count=frame[1])
