"""``WideArea``: room for a widget that may be wider than the panel, which then scrolls sideways instead of being cut."""

from __future__ import annotations

import qt


class WideArea:
    """``area`` shows ``widget`` in its full height, at any width. The widget needs a layout."""

    def __init__(self, widget):
        self.area = qt.QScrollArea()
        self.area.setFrameShape(qt.QFrame.NoFrame)
        self.area.setFocusPolicy(qt.Qt.NoFocus)
        self.area.setVerticalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
        self.area.setWidgetResizable(True)
        self.area.setWidget(widget)
        self._keeper = _HeightKeeper(self.area, widget)

    def stop(self) -> None:
        """The panel is unloaded."""
        self._keeper.stop()


class _HeightKeeper(qt.QObject):
    """Keeps the area as high as the widget, and the bar below it."""

    def __init__(self, area, widget):
        qt.QObject.__init__(self)
        self._area, self._widget = area, widget
        for watched in (area, widget):
            watched.installEventFilter(self)
        self._fit()

    def stop(self) -> None:
        for watched in (self._area, self._widget):
            watched.removeEventFilter(self)

    def eventFilter(self, watched, event):
        if event.type() in (qt.QEvent.LayoutRequest, qt.QEvent.Resize, qt.QEvent.Show):
            self._fit()
        return False

    def _fit(self) -> None:
        layout = self._widget.layout()
        height = layout.totalSizeHint().height()
        if layout.totalMinimumSize().width() > self._area.width:
            height += self._area.style().pixelMetric(qt.QStyle.PM_ScrollBarExtent)
        if self._area.minimumHeight != height:
            self._area.setFixedHeight(height)
