"""The ``ctk`` widgets that the panel uses."""

from __future__ import annotations

import sys
import types

from PyQt5 import QtCore, QtWidgets
from PyQt5.QtCore import pyqtProperty, pyqtSignal

from .ui_loader import offer_to_designer

_HEADER = 26
_SHOWN = "visibilityToParent"  # property of a child: what the program wants; not there before it said anything


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A titled section that folds."""

    contentsCollapsed = pyqtSignal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._text, self._collapsed, self._height, self._forcing = "", False, 0, False
        self.setContentsMargins(0, _HEADER, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Maximum)

    def _read_text(self):
        return self._text

    def _write_text(self, text):
        self._text = text
        self.update()

    def _read_collapsed(self):
        return self._collapsed

    def _write_collapsed(self, collapsed):
        changed, self._collapsed = self._collapsed != collapsed, collapsed
        self._fold()
        if changed:
            self.contentsCollapsed.emit(collapsed)

    def _read_height(self):
        return self._height

    def _write_height(self, height):
        self._height = height

    text = pyqtProperty(str, _read_text, _write_text)
    collapsed = pyqtProperty(bool, _read_collapsed, _write_collapsed)
    collapsedHeight = pyqtProperty(int, _read_height, _write_height)

    def _fold(self):
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                self._show_child(child)
        self.setMaximumHeight(_HEADER if self._collapsed else 16777215)
        self.updateGeometry()

    def _show_child(self, child):
        """As CTK does: what was hidden by the program stays so when the section unfolds, also if that was while it was folded."""
        hidden = QtCore.QObject.property(child, _SHOWN) is False
        self._forcing = True
        child.setVisible(not self._collapsed and not hidden)
        if not hidden:  # else a later setVisible(False) of a child that is hidden with the section would do nothing
            child.setAttribute(QtCore.Qt.WA_WState_ExplicitShowHide, False)
        self._forcing = False

    def childEvent(self, event):
        if event.added():
            event.child().installEventFilter(self)

    def eventFilter(self, child, event):
        if not self._forcing and event.type() in (QtCore.QEvent.ShowToParent, QtCore.QEvent.HideToParent):
            shown = event.type() == QtCore.QEvent.ShowToParent
            child.setProperty(_SHOWN, shown)
            if shown:
                self._show_child(child)
        return False

    def minimumSizeHint(self):
        size = super().minimumSizeHint()
        return QtCore.QSize(size.width(), _HEADER) if self._collapsed else size

    def sizeHint(self):
        size = super().sizeHint()
        return QtCore.QSize(size.width(), _HEADER) if self._collapsed else size

    def paintEvent(self, event):
        painter, option = QtWidgets.QStylePainter(self), QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        width = QtCore.QObject.property(self, "width")
        option.rect = QtCore.QRect(0, 0, width, _HEADER - 3)
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, 6, 12, 12)
        element = QtWidgets.QStyle.PE_IndicatorArrowRight if self._collapsed else QtWidgets.QStyle.PE_IndicatorArrowDown
        painter.drawPrimitive(element, arrow)
        painter.drawText(QtCore.QRect(24, 0, width - 24, _HEADER - 3), QtCore.Qt.AlignVCenter, self._text)

    def mouseReleaseEvent(self, event):
        if event.pos().y() < _HEADER:
            self.collapsed = not self._collapsed


def install() -> None:
    """Puts the module into ``sys.modules["ctk"]``."""
    ctk = sys.modules["ctk"] = types.ModuleType("ctk", "Stand-in for ctk.")
    bases = {
        "ctkCheckBox": QtWidgets.QCheckBox,
        "ctkComboBox": QtWidgets.QComboBox,
        "ctkDoubleSpinBox": QtWidgets.QDoubleSpinBox,
        "ctkMessageBox": QtWidgets.QMessageBox,
    }
    for cls in (ctkCollapsibleButton, *(type(name, (base,), {}) for name, base in bases.items())):
        setattr(ctk, cls.__name__, cls)
        offer_to_designer(cls)
