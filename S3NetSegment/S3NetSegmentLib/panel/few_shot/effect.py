"""Few-shot inside the Segment Editor: the options of its effect, over the same controller as the panel."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from ...engine import InputError
from ...scene.segmentation.segment_slices import EditingRules
from ...scene.slice_jump import show_slice
from ...scene.slices import LastSliceView
from ..messages import capital, log_failure
from ..run import time_left_text
from ..segment.advanced_section import device_setting
from ..widgets.looks import set_property
from .controller import FewShotController
from .following import DrawingWatch
from .presenter import FewShotPresenter
from .request import make_few_shot_request

_HINT = _("Draw a segment on at least one slice with Paint or Draw, all of it that belongs to the segment.")
_PROPAGATE_HELP = _("Carry the drawn segments to all slices. The answer is shown as a preview first.")
# Parameters of the effect, saved with the scene.
_SUPPORT, _ACCEPTED, _DRAWN_ON = "Support", "Accepted", "DrawnOn"  # no translation


class FewShotEffectFrame:
    """The options of the effect. Volume, segmentation and masks are those of the editor that ``host`` belongs to.

    A run and its preview go on while the user draws with other effects.

    :param host: Slicer's ``scriptedEffect``: parameters, parameter node and undo.
    """

    def __init__(self, host):
        self._host, self._last_view, self._showing = host, None, False
        self._notice, self._actions = "", []
        self.active = False
        self.controller = FewShotController(
            self,
            lambda node: host.saveStateForUndo(),
            shown_plane=lambda: self._presenter.plane_in_view(self._last_view),
        )
        self._presenter = FewShotPresenter(self.controller, _PROPAGATE_HELP, has_keys=False)
        self._watch = DrawingWatch(self.show, lambda: None)
        self._make_widgets()

    # -- life

    def activate(self) -> None:
        self.active = True
        if self._last_view is None:
            self._last_view = LastSliceView()
        self._say("")
        self.show()

    def deactivate(self) -> None:
        self.active = False
        self._watch.stop()
        if self._last_view is not None:
            self._last_view.stop()
        self._last_view = None

    def cleanup(self) -> None:
        self.deactivate()
        self.controller.stop()
        for button, action in self._actions:  # a connection would keep all this alive
            button.disconnect("clicked()", action)
        self._actions = []

    def show(self) -> None:
        """Brings everything up to date with the editor's nodes and with what is drawn."""
        if self._showing or not self.active:
            return
        self._showing = True  # parameters that are set on the way come back here
        try:
            self._follow_nodes()
            if not self.controller.running:
                self.controller.refresh()
        finally:
            self._showing = False
        self._show_widgets()

    # -- what the user does

    def propagate_or_cancel(self) -> None:
        if self.controller.running:
            self.controller.cancel()
            return
        self._say("")
        self.show()
        support = self.controller.support
        if support is None:
            return
        try:
            request = make_few_shot_request(
                support.volume_node,
                support.segmentation_node,
                support.drawn,
                shown=self._presenter.in_view(self._last_view)[0],
                device=device_setting(),
            )
        except InputError as error:
            self.refused(str(error))
            return
        self.controller.start(request)

    def accept(self) -> None:
        self._say("")
        result = self.controller.result
        if self.controller.accept(EditingRules.of_editor(self._host.parameterSetNode())):
            self._host.setParameter(_ACCEPTED, result.state.to_text())

    def add_current_slice(self) -> None:
        """Counts the slice that the user looks at as drawn, also an empty one."""
        if self.controller.support is None:
            return
        chosen, why_not = self._presenter.in_view(self._last_view)
        if chosen is None:
            self.refused(why_not)
            return
        self._say("")
        self.controller.support.add(chosen)
        self.state_changed()

    def go_to_next_slice(self) -> None:
        place = self._presenter.next_slice()
        if place is None:
            return
        request = self.controller.result.request
        try:
            show_slice(request.volume_node, *place, request.segmentation_node, None, self._last_view)
        except InputError as error:
            self.refused(str(error))

    # -- what the controller tells (Listener)

    def state_changed(self) -> None:
        support = self.controller.support
        if support is not None:
            for name, value in (
                (_SUPPORT, self.controller.support_text),
                (_DRAWN_ON, support.segmentation_node.GetID() or ""),
            ):
                if self._parameter(name) != value:
                    self._host.setParameter(name, value)
        self._show_widgets()

    def progressed(self, step, seconds_left: float | None) -> None:
        self.progress_bar.value = int(1000 * min(max(step.fraction, 0), 1))
        left = time_left_text(seconds_left)
        self.message.text = f"{step.message}, {left}" if left else step.message
        self.message.setVisible(True)

    def refused(self, text: str) -> None:
        self._say(capital(text))

    def informed(self, text: str) -> None:
        if text not in self._notice:
            self._say(f"{self._notice} {text}".strip())

    def torch_missed(self) -> None:
        self._say(
            _("Few-shot needs PyTorch, which is not installed. Open the module S3Net Segment: it offers to install it.")
        )

    def failed(self, error: Exception) -> None:
        log_failure(error, "Few-shot")
        self._say(_("Something unexpected went wrong: {error}. The segments were not changed.").format(error=error))

    # -- inside

    def _make_widgets(self) -> None:
        self.widget = qt.QWidget()
        layout = qt.QVBoxLayout(self.widget)
        layout.setContentsMargins(0, 0, 0, 0)
        self.drawn_text = _text(layout)
        self.add_button = self._button(_("Add current slice"), self.add_current_slice)
        self.add_button.toolTip = _("Count the slice that you look at as drawn, also if none of the segments is there")
        self.propagate_button = self._button(_("Propagate"), self.propagate_or_cancel)
        _row(layout, self.add_button, self.propagate_button)
        self.progress_bar = qt.QProgressBar()
        self.progress_bar.maximum = 1000
        self.progress_bar.setTextVisible(False)
        layout.addWidget(self.progress_bar)
        self.message = _text(layout)
        self.accept_button = self._button(_("Accept"), self.accept)
        self.accept_button.toolTip = _("Write the previewed answer into the segments; drawn slices stay as they are")
        self.discard_button = self._button(_("Discard"), self.controller.discard)
        self.discard_button.toolTip = _("Take the preview away; the segments stay as they are")
        _row(layout, self.accept_button, self.discard_button)
        self.next_button = self._button(_("Next slice to draw"), self.go_to_next_slice)
        layout.addWidget(self.next_button)
        self._show_widgets()

    def _button(self, text: str, action):
        button = qt.QPushButton(text)
        button.connect("clicked()", action)
        self._actions.append((button, action))
        return button

    def _follow_nodes(self) -> None:
        editor_node = self._host.parameterSetNode()
        volume = editor_node.GetSourceVolumeNode() if editor_node is not None else None
        segmentation = editor_node.GetSegmentationNode() if editor_node is not None else None
        known = self.controller.support
        if known is None or known.volume_node is not volume or known.segmentation_node is not segmentation:
            self._notice = ""  # it was about the nodes before
            texts = ()
            if segmentation is not None and self._parameter(_DRAWN_ON) == segmentation.GetID():
                texts = self._parameter(_SUPPORT), self._parameter(_ACCEPTED)
            self.controller.set_drawing(volume, segmentation, *texts)
        self._watch.watch(segmentation if self.controller.support is not None else None)

    def _parameter(self, name: str) -> str:
        """A parameter of the effect; Slicer stores no empty ones and complains when asked for one that is not there."""
        return self._host.parameter(name) if self._host.parameterDefined(name) else ""

    def _show_widgets(self) -> None:
        support, running, presenter = self.controller.support, self.controller.running, self._presenter
        self.drawn_text.text = self._drawn()
        self.add_button.enabled = support is not None and not running
        problem = "" if support is not None and support.drawn else self.drawn_text.text
        for name, value in presenter.button(problem).items():
            set_property(self.propagate_button, name, value)
        self.progress_bar.setVisible(running)
        if running and self.controller.result is None:
            self.progress_bar.value = 0
        self.accept_button.enabled = self.discard_button.enabled = presenter.can_accept
        self.next_button.enabled = presenter.next_slice() is not None
        self.next_button.text, self.next_button.toolTip = presenter.next_texts()
        if not running:
            self.message.text = self._notice or presenter.state(qualities=True)
            self.message.setVisible(bool(self.message.text))

    def _drawn(self) -> str:
        """Which slices count as drawn, for the user."""
        if self.controller.support is None:
            return _("Select a source volume and a segmentation above.")
        rows, why_none = self._presenter.rows(_HINT)
        if not rows:
            return why_none
        drawn = _("Drawn: {names}").format(names=", ".join(row.title for row in rows))
        doubts = "".join(f" {row.name}: {row.doubt}" for row in rows if row.doubt)
        return f"{drawn}.{doubts}" if doubts else drawn

    def _say(self, text: str) -> None:
        """A notice, until the user does something."""
        self._notice = text
        self._show_widgets()


def _text(layout):
    label = qt.QLabel()
    label.setWordWrap(True)
    layout.addWidget(label)
    return label


def _row(layout, *widgets) -> None:
    row = qt.QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    layout.addLayout(row)
