"""Every state of the panel's tabs, one after the other: for the test of its width and for pictures to look at.

    python3 Testing/panel_states.py OUT_FOLDER [--dark] [--scale 1.5] [--font "Liberation Sans"]

makes a picture of each, and ends with 1 where a text is cut or a band is left empty. With ``--all`` the command makes four sets, light and dark at 100 and 150 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parent
PANEL_WIDTH = 380  # pixels at 100 %: more takes room from the slice views
BAND = 16  # pixels between two rows: the margins of a section
LONG = "A name of a segment that is far too long for any column"


def states(panel, views, folder):
    """Brings the panel (a PanelDriver over small engines) into its states; yields a name for each.

    :param views: with ``axial``, ``sagittal`` and ``coronal`` slice views of a volume.
    :param folder: an empty folder, for a cohort and a training run.
    """
    yield from _segment(panel, views)
    yield from _few_shot(panel, views)
    yield from _models(panel, folder)
    yield from _cohort(panel, folder)
    yield from _frames(panel, views)


def _segment(panel, views):
    ui = panel.ui
    yield "segment_start"
    panel.choose(ui.scopeComboBox, "Slice range")
    yield "segment_range"
    panel.choose(ui.scopeComboBox, "ROI")
    yield "segment_roi"
    panel.choose(ui.scopeComboBox, "Current slice")
    panel.segment()
    yield "segment_regions"
    panel.view(views.axial).click((0.0, 0.0, 0.0))
    panel.wait(lambda: not panel.panel.controller.running)
    yield "segment_point"
    ui.confidenceCheckBox.click()
    panel.wait(lambda: not panel.panel.controller.running)
    yield "segment_confidence"
    ui.confidenceCheckBox.click()
    panel.drag(views.axial, (-8.0, -6.0, 0.0), (0.0, 0.0, 0.0), (8.0, 6.0, 0.0))
    panel.wait(lambda: not panel.panel.controller.running)
    segmentation = panel.segmentation.GetSegmentation()
    segmentation.GetSegment(panel.parameters.targetSegment).SetName(LONG)
    panel.choose_prompts(0)
    yield "segment_box"
    panel.panel.refused("something cannot be done for a reason that takes more than one line; do this or that instead")
    yield "segment_message"
    panel.panel.message.hide()
    ui.advancedCollapsibleButton.collapsed = False
    panel.wait(lambda: ui.deviceText.text.startswith("torch"))  # its line comes when torch is loaded
    yield "segment_advanced"
    panel.panel.advanced.segment.more.collapsed = False
    yield "segment_more_settings"
    panel.panel.advanced.segment.more.collapsed = True
    ui.advancedCollapsibleButton.collapsed = True
    ui.editCollapsibleButton.collapsed = False
    yield "segment_edit"
    ui.editCollapsibleButton.collapsed = True


def _few_shot(panel, views):
    import numpy as np

    ui, square = panel.ui, np.zeros((36, 40), bool)
    square[10:20, 10:22] = True
    panel.open_few_shot()
    yield "few_shot_start"
    panel.draw(LONG, square, "z", 4)
    panel.draw("Liver", np.roll(square, 12, 1), "z", 4)
    yield "few_shot_drawn"
    panel.propagate()
    yield "few_shot_preview"
    ui.fewShotConfidenceCheckBox.click()
    panel.settle(0.1)
    yield "few_shot_confidence"
    ui.fewShotConfidenceCheckBox.click()
    ui.acceptButton.click()
    yield "few_shot_accepted"
    panel.choose(ui.propagateComboBox, "Another volume")
    yield "few_shot_other_volume"
    panel.choose(ui.propagateComboBox, "Whole volume")
    ui.advancedCollapsibleButton.collapsed = False
    yield "few_shot_advanced"
    panel.panel.advanced.few_shot.more.collapsed = False
    yield "few_shot_more_settings"
    panel.panel.advanced.few_shot.more.collapsed = True
    ui.advancedCollapsibleButton.collapsed = True


def _models(panel, folder):
    panel.open_models()
    ui = panel.panel.models.ui
    yield "models_start"
    for edit, path in (
        (ui.modelFileEdit, folder / "no_model.pt"),
        (ui.cohortFolderEdit, folder / "cohort"),
        (ui.runFolderEdit, folder / "run"),
    ):
        edit.text = str(path)
        edit.editingFinished.emit()
    ui.cohortCollapsibleButton.collapsed = False
    panel.settle(0.3)
    yield "models_case"
    ui.cohortCollapsibleButton.collapsed = True
    ui.trainingCollapsibleButton.collapsed = False
    for number in range(ui.trainingKindBox.count):
        ui.trainingKindBox.currentIndex = number
        panel.settle(0.05)
        yield f"models_train_{number}"
    ui.trainingKindBox.currentIndex = 0
    (folder / "run").mkdir(exist_ok=True)
    entries = (
        {"step": n, "steps": 600, "loss": 1 / (1 + n), "progress": n / 600, "seconds": n} for n in range(0, 600, 9)
    )
    (folder / "run" / "log.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    panel.panel.models.training.refresh()
    yield "models_train_curve"
    ui.tryTrainingButton.setVisible(False)  # a run that does not answer, and has a model already
    for widget in (ui.killTrainingButton, ui.useModelButton, ui.trainingProgressBar):
        widget.setVisible(True)
    yield "models_train_buttons"


def _cohort(panel, folder):
    from loop_folders import write_patients

    panel.open_cohort(folder / "empty")
    yield "cohort_start"
    panel.open_cohort(
        write_patients(folder / "scans", "anna", "a patient with a name that is far too long for a column")
    )
    panel.settle(0.3)
    yield "cohort_cases"
    panel.click(panel.panel.cohort.ui.nextCaseButton)
    panel.wait(lambda: not panel.panel.cohort.running)
    yield "cohort_case"


def _frames(panel, views):
    """The volume as one frame of a sequence."""
    import slicer
    from sequences import play

    panel.open_segment()
    volume = panel.parameters.volume
    play(volume, [slicer.util.arrayFromVolume(volume) + number for number in range(3)], 1)
    panel.wait(lambda: panel.ui.frameText.isVisible())
    panel.panel.segment.prompts.delete_all()
    panel.drag(views.axial, (-8.0, -6.0, 0.0), (0.0, 0.0, 0.0), (8.0, 6.0, 0.0))
    panel.wait(lambda: not panel.panel.controller.running and panel.ui.allFramesButton.isVisible())
    yield "segment_frames"
    panel.open_models()
    panel.wait(lambda: panel.panel.models.ui.modelAllFramesCheckBox.isVisible())
    yield "models_frames"


def cut_texts(frame, editor):
    """``(text, pixels needed, pixels there)`` of what is cut in the panel, but for Slicer's own editor in it and long names that the
    user has given."""
    from PyQt5 import QtGui, QtWidgets

    for widget in _shown(frame, editor):
        if isinstance(widget, QtWidgets.QLabel) and widget.wordWrap:
            needed, there = widget.heightForWidth(widget.width), widget.height
            if needed > there:
                yield widget.text, needed, there
            continue
        for text, there in _lines_on(widget):
            needed = QtGui.QFontMetrics(widget.font).horizontalAdvance(text.replace("&", ""))
            if needed > there and not text.startswith("<") and "far too long" not in text:
                yield text, needed, there


def _lines_on(widget):
    """``(text, pixels there)`` of a widget that writes in one line."""
    from PyQt5 import QtWidgets

    style = QtWidgets.QStyle
    if isinstance(widget, QtWidgets.QComboBox):
        option = QtWidgets.QStyleOptionComboBox()
        option.initFrom(widget)
        inside = widget.style().subControlRect(style.CC_ComboBox, option, style.SC_ComboBoxEditField, widget)
        yield widget.currentText, inside.width()
    elif isinstance(widget, QtWidgets.QTabBar):
        for number in range(widget.count):
            yield widget.tabText(number), widget.tabRect(number).width()
    elif isinstance(widget, (QtWidgets.QAbstractButton, QtWidgets.QLabel)):
        yield widget.text() if callable(widget.text) else widget.text, widget.width


def empty_bands(frame, editor, allowed=BAND):
    """``(y, pixels)`` of bands across the panel in which nothing stands, that are higher than rows should be apart."""
    from PyQt5 import QtCore, QtWidgets

    kinds = (
        QtWidgets.QLabel, QtWidgets.QAbstractButton, QtWidgets.QComboBox, QtWidgets.QLineEdit, QtWidgets.QAbstractSpinBox,
        QtWidgets.QAbstractSlider, QtWidgets.QProgressBar, QtWidgets.QAbstractScrollArea, QtWidgets.QTabBar,
    )  # fmt: skip
    shown = [*_shown(frame, editor), *[editor] * editor.isVisible()]
    heights = [(w, w.height) for w in shown if isinstance(w, kinds) or w is editor]
    heights += [
        (w, w.contentsMargins().top()) for w in shown if w.metaObject().className() == "ctkCollapsibleButton"
    ]  # its title
    tops = sorted((w.mapTo(frame, QtCore.QPoint(0, 0)).y(), height) for w, height in heights)
    end = tops[0][0]
    for top, height in tops:
        if top - end > allowed:
            yield end, top - end
        end = max(end, top + height)


def _shown(frame, editor):
    from PyQt5 import QtWidgets

    return [w for w in frame.findChildren(QtWidgets.QWidget) if w.isVisible() and not editor.isAncestorOf(w)]


def dark_palette():
    """The colours of Slicer's dark style."""
    from PyQt5 import QtGui

    palette, role = QtGui.QPalette(), QtGui.QPalette
    for place, color in (
        (role.Window, 0x353535), (role.Base, 0x191919), (role.AlternateBase, 0x353535), (role.Button, 0x353535),
        (role.ToolTipBase, 0x353535), (role.WindowText, 0xFFFFFF), (role.Text, 0xFFFFFF), (role.ButtonText, 0xFFFFFF),
        (role.ToolTipText, 0xFFFFFF), (role.BrightText, 0xFF0000), (role.Link, 0x2A82DA), (role.Highlight, 0x2A82DA),
        (role.HighlightedText, 0xFFFFFF),
    ):  # fmt: skip
        palette.setColor(place, QtGui.QColor(color))
    for place in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(role.Disabled, place, QtGui.QColor(0x7F7F7F))
    return palette


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="light and dark, at 100 and 150 %%")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--scale", default="1")
    parser.add_argument("--font", default="DejaVu Sans")
    parser.add_argument("--width", type=int, default=PANEL_WIDTH)
    options = parser.parse_args()
    if options.all:
        sets = [("light_100", []), ("dark_100", ["--dark"]), ("light_150", ["--scale", "1.5"])]
        sets.append(("dark_150", ["--dark", "--scale", "1.5"]))
        for name, more in sets:
            subprocess.run(
                [sys.executable, __file__, str(options.folder / name), "--font", options.font, *more], check=True
            )
        return 0
    os.environ["QT_SCALE_FACTOR"] = options.scale
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    return _pictures(options)


def _pictures(options) -> int:
    import tempfile
    from types import SimpleNamespace

    import headless_slicer
    import numpy as np
    import qt_stand_in
    from paths import MODULE

    headless = headless_slicer.start()
    application = qt_stand_in.install(headless)
    from PyQt5 import QtGui, QtWidgets

    if options.dark:
        QtWidgets.QApplication.setPalette(dark_palette())
    QtWidgets.QApplication.setFont(QtGui.QFont(options.font, 8))
    headless.new_scene()
    import slicer
    from fake_engine import FakeEngine
    from fake_propagation import FakePropagation
    from panel_driver import PanelDriver

    k, j, i = np.mgrid[:12, :36, :40]
    ball = (i - 20) ** 2 + (j - 18) ** 2 + (2 * (k - 6)) ** 2 < 64
    volume = slicer.util.addVolumeFromArray((100 + 150 * ball + np.random.default_rng(0).normal(0, 8, ball.shape)).astype(np.int16), name="MR head")  # fmt: skip
    volume.SetSpacing(1, 1, 2)
    volume.SetOrigin(-20, -18, -12)
    names = (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal"))
    nodes = [headless.add_slice_view(name, orientation, volume) for name, orientation in names]
    application.layoutManager().show(*nodes)
    views = SimpleNamespace(axial=nodes[0], sagittal=nodes[1], coronal=nodes[2])
    module, widget = qt_stand_in.open_module(MODULE / "S3NetSegment.py", FakeEngine(), FakePropagation())
    panel = PanelDriver(module, widget, application, headless)
    options.folder.mkdir(parents=True, exist_ok=True)
    frame, wrong = widget.parent, []
    with tempfile.TemporaryDirectory() as folder:
        for name in states(panel, views, Path(folder)):
            needed = fitted(panel, frame, options.width)
            frame.grab().save(str(options.folder / f"{name}.png"))
            print(f"{name}: {needed} pixels wide")
            for text, needed, there in cut_texts(frame, panel.panel.editor.widget):
                wrong.append(f"{name}: {text!r} needs {needed} pixels and has {there}")
            for y, height in empty_bands(frame, panel.panel.editor.widget):
                wrong.append(f"{name}: {height} pixels below {y} are empty")
    panel.close()
    print("\n".join(wrong), file=sys.stderr)
    return int(bool(wrong))


def fitted(panel, frame, width: int) -> int:
    """Makes ``frame`` as tall as it needs to be, as Slicer's scroll area does, once what it shows has come to rest; returns the width
    that it needs."""
    from PyQt5 import QtWidgets

    talls: list[int] = []
    while len(talls) < 20 and (len(talls) < 3 or len(set(talls[-3:])) > 1):
        panel.settle(0.1)
        QtWidgets.QApplication.sendPostedEvents()  # what a busy machine has not yet laid out
        talls.append(max(frame.minimumSizeHint().height(), frame.layout().heightForWidth(width), 300))
        frame.resize(width, talls[-1])
    return frame.minimumSizeHint().width()


if __name__ == "__main__":
    sys.path[:0] = [str(TESTING / "support"), str(TESTING.parent / "S3NetSegment")]
    from script_environment import enter_environment

    enter_environment(for_tests=True)
    sys.exit(main())
