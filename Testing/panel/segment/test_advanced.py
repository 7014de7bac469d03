"""Advanced: settings, presets, device, and what happens without torch."""

import dataclasses
import sys
import types

import pytest
import slicer
from fake_engine import FakeEngine

from S3NetSegmentLib.engine import SegmentSettings
from S3NetSegmentLib.engine.few_shot.settings import FewShotSettings
from S3NetSegmentLib.panel.widgets import torch_row as torch_support


@pytest.fixture
def without_torch(monkeypatch):
    """torch cannot be imported, nor is the PyTorch extension there."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    slicer.app.extensions_installed.clear()
    slicer.app.restarted = False


@pytest.fixture
def advanced(open_panel):
    panel = open_panel(FakeEngine())
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.settle(0.05)
    return panel


def row(panel, name):
    return panel.panel.advanced.segment._rows[name]


def test_opening_the_panel_does_not_import_torch(tmp_path):
    """In a process of its own: others may have imported it here."""
    import subprocess

    from paths import MODULE, REPOSITORY

    code = f"""
import sys
sys.path[:0] = [{str(REPOSITORY / "Testing" / "support")!r}, {str(MODULE)!r}]
import headless_slicer, qt_stand_in
qt_stand_in.install(headless_slicer.start())
module, widget = qt_stand_in.open_module({str(MODULE / "S3NetSegment.py")!r})
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=1200, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_first_come_preset_seed_and_device_and_the_rest_is_folded(advanced, keep_picture):
    group = advanced.panel.advanced.segment
    shown = [name for name, (label, made) in group._rows.items() if label.isVisible() and made.widget.isVisible()]
    assert shown == ["seed"] and group.more.isVisible() and group.more.collapsed
    assert advanced.ui.presetComboBox.isVisible() and advanced.ui.deviceComboBox.isVisible()
    group.more.collapsed = False
    advanced.settle(0.05)
    keep_picture(advanced.widget.parent, "panel_advanced")
    assert row(advanced, "region_counts")[1].widget.isVisible() and group.line.isVisible()


@pytest.mark.parametrize("use", ["segment", "few_shot"])
def test_every_setting_of_the_engine_has_a_row_with_its_help_or_is_named_in_the_line(advanced, use):
    if use == "few_shot":
        advanced.open_few_shot()
    group = getattr(advanced.panel.advanced, use)
    defaults = SegmentSettings() if use == "segment" else FewShotSettings()
    named = group.line.toolTip.partition("There are: ")[2].split(", ")
    assert sorted([*group._rows, *named]) == sorted(field.name for field in dataclasses.fields(defaults))
    assert len(group._rows) <= 12
    for field in dataclasses.fields(defaults):
        if field.name in group._rows:
            _, made = group._rows[field.name]
            assert made.widget.toolTip.startswith(field.metadata["help"][:20])
            assert made.read() == getattr(defaults, field.name)


def test_all_other_settings_are_set_by_name_in_one_line(advanced):
    line = advanced.panel.advanced.segment.line

    def enter(text):
        line.text = text
        line.editingFinished.emit()

    enter("channels=24 flip-side=1")
    assert "not understood" in advanced.message and advanced.parameters.settings == "{}" and line.text == ""
    enter("steps=3")
    assert "row of its own" in advanced.message and advanced.parameters.settings == "{}"
    enter("channels=24 attention=off")
    row(advanced, "restarts")[1].widget.value = 1
    settings = advanced.panel.advanced.segment.settings()
    assert (settings.channels, settings.attention, settings.restarts) == (24, False, 1)
    assert line.text == "channels=24 attention=False"
    enter("attention=off")
    settings = advanced.panel.advanced.segment.settings()
    assert (settings.channels, settings.attention, settings.restarts) == (SegmentSettings().channels, False, 1)
    enter("")
    assert advanced.panel.advanced.segment.changes() == {"restarts": 1}


def test_changed_settings_reach_the_engine_and_are_marked(advanced):
    label, restarts = row(advanced, "restarts")
    restarts.widget.value = 4
    _, counts = row(advanced, "region_counts")
    counts.widget.text = "2, 5"
    counts.widget.editingFinished.emit()
    row(advanced, "flip")[1].widget.checked = False
    assert label.font.bold() and not row(advanced, "fit_size")[0].font.bold()
    assert "restarts" in advanced.ui.resetSettingsButton.toolTip
    advanced.segment()
    settings = advanced.panel.controller.result.answer.request.settings
    assert (settings.restarts, settings.region_counts, settings.flip) == (4, (2, 5), False)
    advanced.click(advanced.ui.resetSettingsButton)
    assert advanced.parameters.settings == "{}" and restarts.widget.value == SegmentSettings().restarts


def test_a_setting_put_back_to_its_default_is_not_a_change_any_more(advanced):
    _, restarts = row(advanced, "restarts")
    default = restarts.widget.value
    restarts.widget.value = default + 1
    restarts.widget.value = default
    assert advanced.parameters.settings == "{}"


def test_a_wrong_entry_is_told_and_not_taken_over(advanced):
    _, counts = row(advanced, "region_counts")
    for text in ("2, many", "1, 40"):
        counts.widget.text = text
        counts.widget.editingFinished.emit()
        assert advanced.message and counts.read() == SegmentSettings().region_counts
    assert advanced.parameters.settings == "{}"


def test_a_preset_sets_all_settings(advanced):
    from S3NetSegmentLib.engine import preset

    advanced.choose(advanced.ui.presetComboBox, "Paper (slow)")
    assert row(advanced, "restarts")[1].read() == preset("paper").restarts
    assert advanced.panel.advanced.segment.settings() == preset("paper")


def test_the_device_is_kept_in_the_application_settings_and_reaches_the_engine(advanced, open_panel):
    advanced.choose(advanced.ui.deviceComboBox, "CPU")
    assert advanced.application.settings().value("S3NetSegment/Device") == "cpu"
    assert "cpu" not in str([advanced.parameters.parameterNode.GetParameter(n) for n in ("settings", "preset")])
    advanced.segment()
    assert advanced.panel.controller.result.answer.request.device == "cpu"
    slicer.mrmlScene.Clear(False)
    assert advanced.ui.deviceComboBox.currentText == "CPU"


def test_the_line_about_the_device_tells_the_truth(advanced):
    torch = pytest.importorskip("torch")
    assert f"torch {torch.__version__}" in advanced.ui.deviceText.text


def test_without_torch_grey_images_work_and_the_panel_offers_the_extension(without_torch, open_panel, keep_picture):
    panel = open_panel(FakeEngine())
    assert panel.ui.torchFrame.isVisible() and "Grey images" in panel.ui.torchText.text
    assert panel.ui.torchButton.text == "Install extension"
    keep_picture(panel.widget.parent, "panel_without_torch")
    panel.ui.advancedCollapsibleButton.collapsed = False
    assert panel.ui.deviceText.text == "PyTorch is not installed"
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.segment()
    assert "Region 1" in panel.names()


def test_the_extension_is_installed_on_a_click_and_then_a_restart_is_offered(without_torch, open_panel, monkeypatch):
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: "Unsaved data" in text)
    panel = open_panel(FakeEngine())
    panel.click(panel.ui.torchButton)
    assert panel.application.extensions_installed == ["PyTorch"]
    assert panel.ui.torchButton.text == "Restart" and not panel.application.restarted
    panel.click(panel.ui.torchButton)
    assert panel.application.restarted


def test_with_the_extension_torch_is_installed_by_it_and_looked_for_again(monkeypatch, open_panel):
    monkeypatch.setitem(sys.modules, "torch", None)
    asked = []

    class Logic:
        def installTorch(self, **options):
            asked.append(options)
            monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=Logic))
    panel = open_panel(FakeEngine())
    assert panel.ui.torchButton.text == "Install PyTorch"
    monkeypatch.setattr(panel.panel.advanced, "show_device", lambda: None)
    panel.click(panel.ui.torchButton)
    assert asked == [{"askConfirmation": True, "torchVersionRequirement": ">=2.2"}]
    assert not panel.ui.torchFrame.isVisible() and panel.message == "PyTorch is installed."


def test_a_failed_installation_says_what_to_do(without_torch, open_panel, monkeypatch):
    panel = open_panel(FakeEngine())
    model = types.SimpleNamespace(installExtensionFromServer=lambda *_: False, isExtensionInstalled=lambda name: False)
    monkeypatch.setattr(panel.application, "extensionsManagerModel", lambda: model, raising=False)
    panel.click(panel.ui.torchButton)
    assert "Extensions Manager" in panel.message


def test_a_run_that_needs_torch_says_so_and_offers_it(without_torch, open_panel):
    panel = open_panel(FakeEngine(error=ModuleNotFoundError("No module named 'torch'", name="torch")))
    panel.click(panel.ui.torchCloseButton)
    panel.choose(panel.ui.scopeComboBox, "Whole volume")
    panel.segment()
    assert "need PyTorch" in panel.message and panel.ui.torchFrame.isVisible()


def test_the_row_about_torch_stays_closed_once_it_was_closed(without_torch, open_panel):
    panel = open_panel(FakeEngine())
    panel.click(panel.ui.torchCloseButton)
    panel.widget.exit()
    panel.widget.enter()
    assert not panel.ui.torchFrame.isVisible()


def test_torch_too_new_for_slicer_on_windows_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(torch_support.sys, "platform", "win32")
    assert torch_support.torch_requirement().endswith("<2.13")
    monkeypatch.setattr(torch_support.sys, "platform", "darwin")
    assert "<" not in torch_support.torch_requirement()


def test_the_installation_is_checked_and_the_report_copied(advanced, monkeypatch):
    from PyQt5 import QtWidgets

    from S3NetSegmentLib.engine import Step, check

    def trial(device):
        yield Step(0.5, "half")
        return 0.97

    monkeypatch.setattr(check, "_TRIALS", (("Segment", False, trial),))
    advanced.click(advanced.ui.checkButton)
    dialog = advanced.panel.check
    advanced.wait(lambda: dialog.report)
    assert "Segment: Dice 0.97" in dialog.report and "numpy" in dialog.report
    dialog._copy.click()
    assert QtWidgets.QApplication.clipboard().text() == dialog.report
    advanced.click(advanced.ui.checkButton)  # once more, and closed in the middle
    dialog.window.reject()
    assert not dialog.driver.running


def test_settings_of_another_use_stay_hidden_when_advanced_was_folded_meanwhile(open_panel):
    panel = open_panel()
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.ui.advancedCollapsibleButton.collapsed = True
    panel.open_few_shot()
    panel.ui.advancedCollapsibleButton.collapsed = False
    segment, few_shot = panel.panel.advanced.segment, panel.panel.advanced.few_shot
    assert few_shot._rows["seed"][0].isVisible() and not segment._rows["seed"][0].isVisible()
    panel.ui.advancedCollapsibleButton.collapsed = True
    panel.open_segment()
    panel.ui.advancedCollapsibleButton.collapsed = False
    assert segment._rows["seed"][0].isVisible() and not few_shot._rows["seed"][0].isVisible()
    assert panel.ui.presetRow.isVisible() and not panel.ui.encoderRow.isVisible()
