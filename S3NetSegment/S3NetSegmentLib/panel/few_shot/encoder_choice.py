"""Which network describes the image for Few-shot: none, weights that are installed, or a file."""

from __future__ import annotations

import os

import qt
from slicer.i18n import tr as _

_AUTOMATIC = ("Automatic", "auto")
_NONE = (_("None (no weights needed)"), "default")
_FILE = "File..."


class EncoderChoice:
    """The choice is the parameter node's ``encoder``. Which weights are installed is looked up when asked for."""

    def __init__(self, ui):
        self._box, self._node = ui.encoderComboBox, None
        self._entries: list[tuple[str, str]] = [_AUTOMATIC, _NONE]  # text, value
        self._fill()
        self._box.connect("activated(int)", self._chosen)

    def look(self) -> None:
        """Looks again which weights are installed."""
        from ...engine.nets.weights import WeightsStore

        names = [stored.name for stored in WeightsStore().stored()]
        self._entries = [_AUTOMATIC, _NONE, *((name, name) for name in names)]
        self._fill()
        if self._node is not None:
            self.show(self._node)

    def show(self, parameter_node) -> None:
        """Shows the parameter node's choice; weights that are not there are named all the same."""
        self._node = parameter_node
        value = parameter_node.encoder
        if value not in [v for _, v in self._entries]:
            self._entries.append((os.path.basename(value) or value, value))
            self._fill()
        self._box.currentIndex = [v for _, v in self._entries].index(value)

    def _fill(self) -> None:
        texts = [text for text, _ in self._entries] + [_FILE]
        if texts != [self._box.itemText(n) for n in range(self._box.count)]:
            self._box.clear()
            self._box.addItems(texts)

    def _chosen(self, index: int) -> None:
        if index < len(self._entries):
            self._node.encoder = self._entries[index][1]
            return
        path = qt.QFileDialog.getOpenFileName(
            self._box.window(), _("Model for Few-shot"), "", _("Models (*.pth *.pt *.safetensors);;All files (*)")
        )
        path = path if type(path) is str else path[0]  # PythonQt gives the name, other bindings a pair
        if path:
            self._node.encoder = path
        self.show(self._node)
