"""The engine's settings as a form: what differs from the defaults is one JSON text in the parameter node, for each
use of the panel, edited in the form and reset by a button."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import ctk
import qt
from slicer.i18n import tr as _

from ...engine import InputError

_LEAST_WIDTH = 60  # pixels; a combo box would be as wide as its longest entry
# field name -> label, where the words of the name alone would not do
_LABELS = {
    "sources": _("Regions from"),
    "region_counts": _("Numbers of regions"),
    "deformable": _("Deformable convolution"),
    "attention": _("I-LKA attention"),
    "work_size": _("Pixels of a slice"),
    "fit_size": _("Pixels of a slice there"),
    "restarts": _("Networks averaged"),
    "steps": _("Steps"),
    "target": _("Kind of target"),
    "growing": _("Growth of the region"),
    "softness": _("Sharpness of the vote"),
    "regrow": _("Second GrowCut"),
    "sure": _("Sure from"),
    "presence": _("Ends"),
    "partial_ring": _("Ring of partial drawings"),
}


def changed_settings(defaults, changes: dict):
    """The settings record ``defaults`` with ``changes`` (name -> value; tuples may be lists, as JSON has them) applied.

    :raises InputError: unknown names or values out of range.
    """
    known = {field.name for field in dataclasses.fields(defaults)}
    unknown = set(changes) - known
    if unknown:
        raise InputError(
            _("there is no setting {unknown}; the settings are: {known}").format(
                unknown=", ".join(sorted(unknown)), known=", ".join(sorted(known))
            )
        )
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
    return dataclasses.replace(defaults, **values)


@dataclasses.dataclass(frozen=True)
class SettingsLevels:
    """Which settings have a row: those that anybody may change, and by subject those for who knows what they do."""

    first: tuple[str, ...]
    more: dict[str, tuple[str, ...]]


class SettingsForm:
    """``on_change(changes)`` is called with what differs from the defaults: name -> value. Wrong values are reported to
    ``on_error(text)`` and not taken over. Settings without a row are set as name=value in one line at the end."""

    def __init__(
        self,
        first,
        more,
        levels: SettingsLevels,
        defaults,
        on_change: Callable[[dict], object],
        on_error: Callable[[str], object],
    ):
        """
        :param first, more: QGridLayouts, which get the rows of ``levels``.
        :param defaults: a settings record; those shown later are of the same class.
        """
        self._on_change, self._on_error = on_change, on_error
        self._defaults, self._changes, self._showing = defaults, {}, False
        self._rows = {}
        fields = {field.name: field for field in dataclasses.fields(defaults)}
        for name in levels.first:
            self._add(first, fields.pop(name))
        for subject, names in levels.more.items():
            _add_row(more, _heading(subject))
            for name in names:
                self._add(more, fields.pop(name))
        self._rest = tuple(fields)
        self.line = qt.QLineEdit()
        self.line.placeholderText = _("name=value name=value")
        self.line.toolTip = _(
            "For experiments: settings that have no row here, separated by spaces. There are: "
        ) + ", ".join(self._rest)
        self.line.connect("editingFinished()", self._line_edited)
        _add_row(more, _heading(_("All others")))
        _add_row(more, self.line)

    def _add(self, layout, field) -> None:
        label = qt.QLabel(_LABELS.get(field.name, field.name.replace("_", " ").capitalize()) + ":")
        row = _Row(field, self._edited)
        label.toolTip = row.help_text
        _add_row(layout, label, row.widget)
        self._rows[field.name] = (label, row)

    def label(self, name: str):
        """The label of a row."""
        return self._rows[name][0]

    def show(self, defaults, changes: dict) -> None:
        """Shows the settings; those that differ from ``defaults`` have a bold label."""
        self._defaults, self._changes, self._showing = defaults, dict(changes), True
        try:
            settings = changed_settings(defaults, changes)
            for name, (label, row) in self._rows.items():
                row.write(getattr(settings, name))
                font = label.font
                font.setBold(name in changes)
                label.font = font
            self.line.text = " ".join(f"{name}={_as_text(changes[name])}" for name in self._rest if name in changes)
        finally:
            self._showing = False

    def _line_edited(self) -> None:
        """Takes over the settings of the line; those of the rows stay."""
        if self._showing:
            return
        in_rows = {name: value for name, value in self._changes.items() if name in self._rows}
        try:
            texts = self.line.text.split()
            named = self._defaults.with_texts(texts)
            names = {text.partition("=")[0].replace("-", "_") for text in texts}
            for name in names & set(self._rows):
                raise InputError(_("{name} has a row of its own; set it there").format(name=name))
        except InputError as error:
            self._on_error(str(error))
            self.show(self._defaults, self._changes)
            return
        own = {name: getattr(named, name) for name in names if getattr(named, name) != getattr(self._defaults, name)}
        changes = {**in_rows, **{name: list(v) if isinstance(v, tuple) else v for name, v in own.items()}}
        if changes != self._changes:
            self._on_change(changes)

    def _edited(self, name: str, read: Callable[[], object]) -> None:
        if self._showing:
            return
        try:
            value = read()
            changes = {**self._changes, name: value}
            value = getattr(changed_settings(self._defaults, changes), name)
        except (InputError, ValueError) as error:
            self._on_error(str(error))
            self.show(self._defaults, self._changes)
            return
        if value == getattr(self._defaults, name):
            changes.pop(name, None)
        else:
            changes[name] = list(value) if isinstance(value, tuple) else value
        if changes != self._changes:
            self._on_change(changes)


def _add_row(layout, widget, field=None) -> None:
    """A label and its field, or one widget over both columns, at the end of a grid."""
    row = layout.rowCount()
    if field is None:
        layout.addWidget(widget, row, 0, 1, 2)
    else:
        layout.addWidget(widget, row, 0)
        layout.addWidget(field, row, 1)


def _heading(text: str):
    label = qt.QLabel(text)
    font = label.font
    font.setBold(True)
    label.font = font
    return label


def _as_text(value) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


class _Row:
    """The widget of one field, by its type."""

    def __init__(self, field, edited: Callable):
        low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
        self.help_text = field.metadata["help"]

        def changed(*_):
            edited(field.name, self.read)

        if choices is not None:
            self.widget = qt.QComboBox()
            self.widget.addItems(list(choices))
            self.read = lambda: choices[self.widget.currentIndex]
            self.write = lambda value: self.widget.setCurrentIndex(choices.index(value))
            self.widget.connect("currentIndexChanged(int)", changed)
        elif isinstance(field.default, bool):
            self.widget = qt.QCheckBox()
            self.read = lambda: bool(self.widget.checked)
            self.write = self.widget.setChecked
            self.widget.connect("toggled(bool)", changed)
        elif isinstance(field.default, tuple):
            self.widget = qt.QLineEdit()
            self.read = lambda: tuple(_whole(part, field.name) for part in self.widget.text.split(","))
            self.write = lambda value: self.widget.setText(", ".join(map(str, value)))
            self.widget.connect("editingFinished()", changed)
            self.help_text += _(" Separate them by commas.")
        elif isinstance(field.default, int):
            self.widget = qt.QSpinBox()
            self.widget.setRange(low, high)
            self.read = lambda: int(self.widget.value)
            self.write = self.widget.setValue
            self.widget.setKeyboardTracking(False)
            self.widget.connect("valueChanged(int)", changed)
        else:
            self.widget = qt.QDoubleSpinBox()
            decimals = 4 if low and low < 0.01 else 2
            self.widget.setDecimals(decimals)
            self.widget.setRange(low, high)
            self.widget.setSingleStep(0.1 if high <= 10 else 5.0)
            self.read = lambda: float(self.widget.value)
            self.write = self.widget.setValue
            self.widget.setKeyboardTracking(False)
            self.widget.connect("valueChanged(double)", changed)
        if low is not None:
            self.help_text += f" ({low:g} to {high:g})"
        self.widget.toolTip = self.help_text
        self.widget.setMinimumWidth(_LEAST_WIDTH)
        # The wheel scrolls the panel; it must not change settings on its way.
        self.widget.setFocusPolicy(qt.Qt.StrongFocus)


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        label = _LABELS.get(name, name)
        raise InputError(
            _("{label} has the entry {text!r}; give whole numbers, e.g. 2, 4, 8").format(label=label, text=text.strip())
        ) from None


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
        rows = qt.QGridLayout(first)
        rows.setContentsMargins(0, 0, 0, 0)
        self.more = ctk.ctkCollapsibleButton()
        self.more.text = _("More settings")
        self.more.collapsed = True
        more_rows = qt.QGridLayout(self.more)
        for grid in (rows, more_rows):
            grid.setColumnStretch(1, 1)
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
