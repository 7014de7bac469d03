"""How widgets look and stand in the panel: pressed, with a picture, in one column, in the order of the Tab key, with room."""

from __future__ import annotations

import base64

import numpy as np
import qt

_SHARED = (
    "volume", "scope", "part", "prompts", "radius", "segmentation", "target", "pick", "device", "preset", "propagate",
    "otherVolume", "encoder",
)  # fmt: skip
_MODELS = (
    "modelFile", "cohortFolder", "caseName", "patient", "runFolder", "trainingKind", "trainingPreset", "trainingMinutes",
    "trainingStart", "trainingSettings",
)  # fmt: skip
_GAP = 4  # pixels


def set_property(widget, name: str, value) -> None:
    if getattr(widget, name) != value:
        setattr(widget, name, value)


def set_items(box, texts: list[str]) -> bool:
    """Lists ``texts`` in a combo box; returns whether it had others."""
    if [box.itemText(n) for n in range(box.count)] == texts:
        return False
    box.clear()
    box.addItems(texts)
    return True


def show_pressed(button) -> None:
    """Gives a checkable ``button`` the colour of a selection while it is checked."""

    def toggled(on: bool) -> None:
        palette = qt.QPalette(qt.QApplication.palette())
        if on:
            palette.setColor(qt.QPalette.Button, palette.color(qt.QPalette.Highlight))
            palette.setColor(qt.QPalette.ButtonText, palette.color(qt.QPalette.HighlightedText))
        button.setPalette(palette)

    button.connect("toggled(bool)", toggled)
    toggled(bool(button.checked))


def pixmap_of(picture: np.ndarray) -> qt.QPixmap:
    """``picture``, uint8 ``[H, W, 3]``, as Qt shows it."""
    height, width = picture.shape[:2]
    data = f"P6 {width} {height} 255\n".encode() + np.ascontiguousarray(picture).tobytes()
    pixmap = qt.QPixmap()
    # As base64: PythonQt hands bytes with zeros over in some of its conversions only.
    pixmap.loadFromData(qt.QByteArray.fromBase64(base64.b64encode(data)))
    return pixmap


def icon_of(picture: np.ndarray) -> qt.QIcon:
    """An icon that shows ``picture``, uint8 ``[H, W, 3]``, in all states of a button alike."""
    pixmap = pixmap_of(picture)
    icon = qt.QIcon()
    icon.addPixmap(pixmap, qt.QIcon.Normal)
    icon.addPixmap(pixmap, qt.QIcon.Disabled)
    return icon


def move_before(widget, anchor) -> None:
    """Lets the keyboard focus come to ``widget`` and all that is in it just before ``anchor``. Menus and other popups, which are
    windows of their own, are left out."""
    before = anchor.previousInFocusChain()
    while (
        before.focusPolicy == qt.Qt.NoFocus
        or before.window() != anchor.window()
        or before == widget
        or widget.isAncestorOf(before)
    ):
        before = before.previousInFocusChain()
    for part in _focusable(widget):
        qt.QWidget.setTabOrder(before, part)
        before = part


def _focusable(widget):
    if widget.focusPolicy != qt.Qt.NoFocus:
        yield widget
    for child in widget.children():
        if child.isWidgetType() and not child.isWindow():
            yield from _focusable(child)


def align_columns(ui, models_ui, cohort_ui) -> None:
    """Makes the labels of the forms as wide as the widest, so that all fields begin in one line."""
    names = ((ui, _SHARED), (models_ui, _MODELS), (cohort_ui, ("loopFolder",)))
    labels = [getattr(form, f"{name}Label") for form, of_form in names for name in of_form]
    width = max(qt.QFontMetrics(label.font).boundingRect(label.text).width() for label in labels)
    for label in labels:
        label.setMinimumWidth(width + _GAP)
        label.setSizePolicy(qt.QSizePolicy.Fixed, qt.QSizePolicy.Preferred)  # the fields take what is left


class WideArea(qt.QObject):
    """``area`` shows ``widget``, which needs a layout, at any width: it is as high as the widget, and the bar below it."""

    def __init__(self, widget):
        qt.QObject.__init__(self)
        self._widget, self.area = widget, qt.QScrollArea()
        self.area.setFrameShape(qt.QFrame.NoFrame)
        self.area.setFocusPolicy(qt.Qt.NoFocus)
        self.area.setVerticalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
        self.area.setWidgetResizable(True)
        self.area.setWidget(widget)
        for watched in (self.area, widget):
            watched.installEventFilter(self)
        self._fit()

    def stop(self) -> None:
        for watched in (self.area, self._widget):
            watched.removeEventFilter(self)

    def eventFilter(self, watched, event):
        if event.type() in (qt.QEvent.LayoutRequest, qt.QEvent.Resize, qt.QEvent.Show):
            self._fit()
        return False

    def _fit(self) -> None:
        layout = self._widget.layout()
        height = layout.totalSizeHint().height()
        if layout.totalMinimumSize().width() > self.area.width:
            height += self.area.style().pixelMetric(qt.QStyle.PM_ScrollBarExtent)
        if self.area.minimumHeight != height:
            self.area.setFixedHeight(height)
