"""The engine's settings as a form, one for each use of the panel, with a button that resets them."""

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
    """Which settings differ from the defaults is the JSON text in the parameter node's field ``name``. Wrong values are told to
    ``on_error(text)`` and not taken over. Settings without a row are set as name=value in one line at the end.

    Attributes: ``more``, the section "More settings", and ``line``, that of the others; None until :meth:`open`.

    :param defaults: the settings record that the parameter node's other fields stand for.
    :param what: what the button resets to, for its tooltip.
    """

    def __init__(
        self, name: str, defaults: Callable[[object], object], levels: SettingsLevels, reset_button,
        on_error: Callable[[str], object], what: str = _("the defaults"),
    ):  # fmt: skip
        self._name, self._defaults, self._button, self._on_error = name, defaults, reset_button, on_error
        self._what, self._levels, self._node, self._visible, self._showing = what, levels, None, True, False
        self._rows: dict[str, tuple] = {}  # label and row of each setting that has one
        self._frame = self.more = self.line = None
        reset_button.connect("clicked()", lambda: self._take({}))

    def show(self, parameter_node) -> None:
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
        if self._frame is not None:
            self._fill(changes)

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
        return changed_settings(self._defaults(self._node), self.changes())

    def open(self, layout, label_width: int = 0) -> None:
        """Makes the form at the end of ``layout``, if it is not there yet.

        :param label_width: of the labels of the form above it, in pixels, so that the fields stand in one column.
        """
        if self._frame is not None:
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
        fields = {field.name: field for field in dataclasses.fields(self._defaults(self._node))}
        for name in self._levels.first:
            self._add(rows, fields.pop(name))
            self._rows[name][0].setMinimumWidth(label_width)
        for subject, names in self._levels.more.items():
            _add_row(more_rows, _heading(subject))
            for name in names:
                self._add(more_rows, fields.pop(name))
        self._rest = tuple(fields)
        self.line = qt.QLineEdit()
        self.line.placeholderText = _("name=value name=value")
        self.line.toolTip = _(
            "For experiments: settings that have no row here, separated by spaces. There are: "
        ) + ", ".join(self._rest)
        self.line.connect("editingFinished()", self._line_edited)
        _add_row(more_rows, _heading(_("All others")))
        _add_row(more_rows, self.line)
        self.set_visible(self._visible)
        self.show(self._node)

    def set_visible(self, visible: bool) -> None:
        self._visible = visible
        if self._frame is not None:
            self._frame.setVisible(visible)

    # -- inside

    def _add(self, layout, field) -> None:
        label = qt.QLabel(_LABELS.get(field.name, field.name.replace("_", " ").capitalize()) + ":")
        row = _Row(field, self._edited)
        label.toolTip = row.help_text
        _add_row(layout, label, row.widget)
        self._rows[field.name] = (label, row)

    def _fill(self, changes: dict) -> None:
        """Shows the settings; those in ``changes`` have a bold label."""
        self._showing = True
        try:
            settings = changed_settings(self._defaults(self._node), changes)
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
        defaults, known = self._defaults(self._node), self.changes()
        try:
            texts = self.line.text.split()
            named = defaults.with_texts(texts)
            names = {text.partition("=")[0].replace("-", "_") for text in texts}
            for name in names & set(self._rows):
                raise InputError(_("{name} has a row of its own; set it there").format(name=name))
        except InputError as error:
            self._on_error(str(error))
            self._fill(known)
            return
        own = {name: getattr(named, name) for name in names if getattr(named, name) != getattr(defaults, name)}
        self._take({name: value for name, value in known.items() if name in self._rows} | own)

    def _edited(self, name: str, read: Callable[[], object]) -> None:
        if self._showing:
            return
        defaults, known = self._defaults(self._node), self.changes()
        try:
            value = getattr(changed_settings(defaults, {**known, name: read()}), name)
        except (InputError, ValueError) as error:
            self._on_error(str(error))
            self._fill(known)
            return
        others = {other: value for other, value in known.items() if other != name}
        self._take(others if value == getattr(defaults, name) else {**others, name: value})

    def _take(self, changes: dict) -> None:
        text = json.dumps(changes)
        if json.loads(text) != self.changes():  # which has lists in place of tuples
            setattr(self._node, self._name, text)


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
