"""The engine's settings of one use of the panel: kept in the parameter node, edited in a form, reset by a button."""

from __future__ import annotations

import json
from collections.abc import Callable

import ctk
import qt
from slicer.i18n import tr as _

from .settings_form import SettingsForm, SettingsLevels, changed_settings


class SettingsGroup:
    """What differs from the defaults is the JSON text in the parameter node's field ``name``."""

    def __init__(
        self,
        name: str,
        defaults: Callable[[object], object],
        levels: SettingsLevels,
        reset_button,
        on_error: Callable[[str], object],
        what: str = _("the defaults"),
    ):
        """
        :param defaults: the settings record that the parameter node's other fields stand for.
        :param what: what the button resets to, for its tooltip.
        """
        self._name, self._defaults, self._button, self._on_error = name, defaults, reset_button, on_error
        self._what, self._levels, self._node, self._frame, self._visible = what, levels, None, None, True
        self.form: SettingsForm | None = None
        self.more = None  # the section "More settings"
        reset_button.connect("clicked()", self._reset)

    def show(self, parameter_node) -> None:
        """Brings button and form up to date with the parameter node."""
        self._node = parameter_node
        changes = self.changes()
        self._button.enabled = bool(changes)
        self._button.toolTip = (
            _("Set all settings back to {what}; changed now: {changes}").format(
                what=self._what, changes=", ".join(changes)
            )
            if changes
            else _("All settings are those of {what}").format(what=self._what)
        )
        if self.form is not None:
            self.form.show(self._defaults(parameter_node), changes)

    def changes(self) -> dict:
        """The settings that differ from the defaults. {} if the scene's are unreadable."""
        try:
            changes = json.loads(getattr(self._node, self._name) or "{}")
            changed_settings(self._defaults(self._node), changes)
            return changes
        except (ValueError, TypeError, AttributeError) as error:  # a scene of another version
            self._on_error(_("the settings in this scene cannot be used and are reset ({error})").format(error=error))
            setattr(self._node, self._name, "{}")
            return {}

    def settings(self):
        """The engine's settings."""
        return changed_settings(self._defaults(self._node), self.changes())

    def open(self, layout, label_width: int = 0) -> None:
        """Makes the form at the end of ``layout``, if it is not there yet.

        :param label_width: of the labels of the form above it, in pixels, so that the fields stand in one column.
        """
        if self.form is not None:
            return
        self._frame = qt.QWidget()
        column = qt.QVBoxLayout(self._frame)
        column.setContentsMargins(0, 0, 0, 0)
        first = qt.QWidget()
        rows = qt.QFormLayout(first)
        rows.setContentsMargins(0, 0, 0, 0)
        self.more = ctk.ctkCollapsibleButton()
        self.more.text = _("More settings")
        self.more.collapsed = True
        more_rows = qt.QFormLayout(self.more)
        column.addWidget(first)
        column.addWidget(self.more)
        layout.addWidget(self._frame)
        self.form = SettingsForm(
            rows, more_rows, self._levels, self._defaults(self._node), self._edited, self._on_error
        )
        for name in self._levels.first:
            self.form.label(name).setMinimumWidth(label_width)
        self._frame.setVisible(self._visible)
        self.show(self._node)

    def set_visible(self, visible: bool) -> None:
        """Shows or hides the form."""
        self._visible = visible
        if self._frame is not None:
            self._frame.setVisible(visible)

    def _edited(self, changes: dict) -> None:
        setattr(self._node, self._name, json.dumps(changes))

    def _reset(self) -> None:
        setattr(self._node, self._name, "{}")
