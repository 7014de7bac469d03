"""The inputs of the panel: volume, and which part of it (shown slice, range, whole, ROI); how what is chosen was made, how sure it is, and
that it belongs to the volume."""

from __future__ import annotations

import re
from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from ..engine import InputError
from ..engine.common.provenance import FEW_SHOT, MODEL
from ..engine.images import AXES
from ..scene.answers.confidence import show_place
from ..scene.answers.provenance import foreign_text, made_by, segment_fact
from ..scene.sequences import frame_of
from ..scene.slices import LastSliceView, last_used_slice_node, shown_slice, slice_name
from ..scene.volumes import volume_from_node
from .messages import capital
from .widgets.looks import set_property

_LEGEND = _(
    '<span style="color:#e03a00">&#9632;</span>&nbsp;hardly sure '
    '<span style="color:#ffb400">&#9632;</span>&nbsp;less than half sure; all else is not tinted'
)
_NOT_SEEN = object()


class InputsSection:
    """Shows the rows that the scope needs and names the slice that the user looks at, live."""

    def __init__(self, ui):
        self._ui = ui
        self._node = None
        self._last_view = None
        self._slice_text = self._shown_text = ""
        self._shown_key = None
        self.problem = ""  # why the present inputs cannot be segmented; for the button's tooltip

    @property
    def last_view(self) -> LastSliceView | None:
        """The slice view that the user was last in."""
        return self._last_view

    def start(self) -> None:
        if self._last_view is None:
            self._last_view = LastSliceView(slicer.mrmlScene)

    def stop(self) -> None:
        if self._last_view is not None:
            self._last_view.stop()
        self._last_view = None

    def show(self, parameter_node) -> None:
        self._node = parameter_node
        scope = parameter_node.scope.value
        ui = self._ui
        ui.partLabel.text = {"slice": "Slice:", "range": "Slices:", "roi": "ROI:"}.get(scope, "")
        for part, widget in (
            ("slice", ui.sliceText),
            ("range", ui.rangeRow),
            ("range", ui.axisComboBox),
            ("roi", ui.roiSelector),
        ):
            widget.setVisible(scope == part)
        for widget in (ui.partLabel, ui.partRow):
            widget.setVisible(scope != "volume")
        self._set_slice_range()
        self.show_slice()

    def show_slice(self) -> None:
        """Names the slice of the view last used, or says why there is none. To be called often: views change by themselves."""
        if self._node is None:
            return
        self.problem = self._problem()
        if self._node.scope.value == "slice" and self._node.volume is not None:
            text = self.problem or self._slice_text
            if self._ui.sliceText.text != text:
                self._ui.sliceText.text = text

    def _problem(self) -> str:
        node = self._node
        if problem := volume_problem(node.volume):
            return problem
        try:
            if node.scope.value == "slice":
                view = last_used_slice_node(node.volume, self._last_view)
                slab = (
                    _(" (the view shows a slab; its middle is segmented)")
                    if view.GetSlabReconstructionEnabled()
                    else ""
                )
                self._slice_text = f"{view.GetLayoutName()}: {self._shown(view)}{slab}"
            elif node.scope.value == "roi" and node.roi is None:
                return _("Select or create the ROI to segment in.")
            elif node.scope.value == "range":
                count = self._slice_count()
                if not node.firstSlice <= node.lastSlice < count:
                    return _(
                        "The first slice must not come after the last, and the last must be below {count}."
                    ).format(count=count)
        except InputError as error:
            return capital(str(error))
        return ""

    def _shown(self, view) -> str:
        # Sampling an oblique plane takes a while: only when the view has changed.
        key = (view.GetID(), view.GetMTime(), self._node.volume.GetID(), self._node.volume.GetMTime())
        if self._shown_key != key:
            self._shown_text = shown_slice(view, self._node.volume).describe()
            self._shown_key = key
        return self._shown_text

    def _set_slice_range(self) -> None:
        if volume_problem(self._node.volume):
            return
        for box in (self._ui.firstSliceSpinBox, self._ui.lastSliceSpinBox):
            if box.maximum != self._slice_count() - 1:
                box.setRange(0, self._slice_count() - 1)

    def _slice_count(self) -> int:
        volume = volume_from_node(self._node.volume)
        return volume.size[AXES.index(volume.slice_axis(self._node.axis.value))]


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
    """A sentence on how a segment was made, from its tags, e.g. "Made by Few-shot on CT from drawing, axial 4 and 8.";
    "" for one that nobody but the user has made."""
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
        return _("Made by Few-shot on {image} from {support}.").format(
            image=fact("Image"), support=_in_words(fact("Support"), fact("Image"))
        )
    if method == MODEL:
        return _("Made by the model {model} on {image}.").format(model=fact("Model"), image=fact("Image"))
    given = [name for name, there in (
        (_("points"), fact("Points")), (_("boxes"), fact("Boxes")), (_("strokes"), fact("Strokes")),
    ) if there]  # fmt: skip
    return _("Made by Segment on {image}, {place}, from {given}.").format(
        image=fact("Image"), place=fact("Place"), given=_listed(given) or _("the image alone")
    )


def _in_words(support: str, image: str) -> str:
    """The fact "drawing z=4,8" as the panel names slices: "drawing, axial 4 and 8".

    :param image: name of what was drawn on, where ``support`` names no other image.
    """
    nodes = {node.GetName(): node for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode")}
    drawn_on = max((name for name in nodes if f" on {name} " in support), key=len, default=image)
    try:
        volume = volume_from_node(nodes[drawn_on])
    except (KeyError, InputError):  # it is no longer in the scene: nobody knows which way its axes run
        volume = None

    def words(match) -> str:
        axis, numbers = match[1], match[2].split(",")
        if volume is not None:
            return f", {slice_name(volume, axis, int(numbers[0])).split()[0]} {_listed(numbers)}"
        text = _(", slices {numbers} along {axis}") if len(numbers) > 1 else _(", slice {numbers} along {axis}")
        return text.format(numbers=_listed(numbers), axis=axis)

    return re.sub(r"(?:^| )([xyz])=(\d+(?:,\d+)*)(?= |$)", words, support).removeprefix(", ")


def _listed(names) -> str:
    """ "a, b and c"."""
    *first, last = names or ("",)
    return _("{first} and {last}").format(first=", ".join(first), last=last) if first else last


def frame_text(volume_node) -> str:
    """That only one frame of a sequence is worked on; "" for other volumes."""
    frame = frame_of(volume_node)
    if frame is None:
        return ""
    return _(
        "Frame {number} of {count} of a sequence: only this frame is segmented, unless all frames are asked for."
    ).format(number=frame[0], count=frame[1])


class ConfidenceRow:
    """Shown while its check box is checked.

    :param ui, name: where its widgets are, and how their names begin: ``{name}CheckBox``, ``{name}LegendRow``...
    :param controller: its ``overlay`` is the :class:`ConfidenceOverlay` of its answer, or None.
    :param inputs: its ``last_view`` is the slice view that was last used.
    :param on_refused: called with a sentence when there is no such place.
    """

    def __init__(self, ui, name: str, controller, inputs, on_refused: Callable[[str], object]):
        self._controller, self._inputs, self._on_refused = controller, inputs, on_refused
        check_box, row, legend, button = (
            getattr(ui, name + part)
            for part in ("CheckBox", "LegendRow", "Legend", "WorstButton")  # no translation
        )
        legend.text = _LEGEND
        button.toolTip = _("Show where the answer is least sure in the slice of the view that you used last")
        button.connect("clicked()", self._go)
        check_box.connect("toggled(bool)", row.setVisible)
        row.setVisible(check_box.checked)

    def _go(self) -> None:
        overlay = self._controller.overlay
        try:
            if overlay is None:
                raise InputError(_("there is no confidence yet; segment first"))
            view = last_used_slice_node(overlay.volume_node, self._inputs.last_view)
            show_place(overlay.least_sure_place(view))
        except InputError as error:
            self._on_refused(str(error))


class SegmentationChoice:
    """Selects another segmentation when the user goes to another volume, and says so with ``on_change(text)``: the one last
    used with that volume, else a new one. What the user selects afterwards stays."""

    def __init__(self, on_change: Callable[[str], object]):
        self._on_change = on_change
        self.forget()

    def forget(self) -> None:
        """The scene closes."""
        self._volume = self._segmentation = _NOT_SEEN
        self._last: dict[str, str] = {}  # id of a volume -> id of the segmentation last used with it, "" for a new one

    def leaves(self, node) -> bool:
        """Whether the parameter node has another volume than at the last look, and nobody has chosen a segmentation for it."""
        known, segmentation = self._segmentation, node.segmentation
        if self._volume is _NOT_SEEN or self._volume is node.volume or slicer.mrmlScene.IsImporting():
            return False
        removed = segmentation is None and known is not None and known.GetScene() is None
        return known is segmentation or removed

    def follow(self, node) -> None:
        if slicer.mrmlScene.IsImporting():
            return
        volume, segmentation = node.volume, node.segmentation
        went_on = self.leaves(node)
        self._volume, self._segmentation = volume, segmentation
        if volume is None:
            return
        if went_on:
            last = slicer.mrmlScene.GetNodeByID(self._last.get(volume.GetID()) or "")
            why = foreign_text(segmentation, volume) if segmentation is not None and segmentation is not last else ""
            if why or (segmentation is None and last is not None):
                self._select(node, last, why)
                segmentation = last
        self._last[volume.GetID()] = segmentation.GetID() if segmentation is not None else ""

    def _select(self, node, segmentation, why: str) -> None:
        before, self._segmentation = self._segmentation, segmentation
        with slicer.util.NodeModify(node):
            node.segmentation = segmentation
            node.targetSegment = ""
        if segmentation is not None:
            text = _("{segmentation!r} is selected again, the segmentation last used with {volume!r}").format(
                segmentation=segmentation.GetName(), volume=node.volume.GetName()
            )
        else:
            text = _("{why}: results go into a new segmentation. Select {before!r} again to go on in it").format(
                why=why, before=before.GetName()
            )
        self._on_change(f"{text}.")


def volume_problem(volume_node) -> str:
    """Why nothing can be done with the chosen volume; "" if something can."""
    if volume_node is None:
        return _("Select a volume first. Load one by dropping a file or DICOM folder onto Slicer.")
    try:
        volume_from_node(volume_node)
    except InputError as error:
        return capital(str(error))
    return ""
