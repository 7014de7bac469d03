"""Advanced: settings, presets, device, and what happens without torch."""

import dataclasses
import sys
import types

import pytest
import slicer
from fake_engine import FakeEngine

from S3NetSegmentLib.engine import SegmentSettings
from S3NetSegmentLib.panel.widgets import torch_support


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
    return panel.panel.advanced.segment.form._rows[name]


def test_opening_the_panel_does_not_import_torch(tmp_path):
    """In a process of its own: others may have imported it here."""
    import subprocess

    from paths import MODULE, REPOSITORY

    code = f"""
import sys
sys.path[:0] = [{str(REPOSITORY / "Testing")!r}, {str(MODULE)!r}]
import headless_slicer, qt_stand_in
qt_stand_in.install(headless_slicer.start())
module, widget = qt_stand_in.open_module({str(MODULE / "S3NetSegment.py")!r})
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=1200, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_every_setting_of_the_engine_has_a_row_with_its_help(advanced, keep_picture):
    for field in dataclasses.fields(SegmentSettings):
        label, made = row(advanced, field.name)
        assert label.isVisible() and made.widget.isVisible()
        assert made.widget.toolTip.startswith(field.metadata["help"][:20])
        assert made.read() == getattr(SegmentSettings(), field.name)
    advanced.widget.parent.resize(450, 1500)
    advanced.settle(0.05)
    keep_picture(advanced.widget.parent, "panel_advanced")


def test_changed_settings_reach_the_engine_and_are_marked(advanced):
    label, channels = row(advanced, "channels")
    channels.widget.value = 24
    _, counts = row(advanced, "region_counts")
    counts.widget.text = "2, 5"
    counts.widget.editingFinished.emit()
    row(advanced, "attention")[1].widget.checked = False
    assert label.font.bold() and not row(advanced, "blocks")[0].font.bold()
    assert "channels" in advanced.ui.resetSettingsButton.toolTip
    advanced.segment()
    settings = advanced.panel.controller.result.answer.request.settings
    assert (settings.channels, settings.region_counts, settings.attention) == (24, (2, 5), False)
    advanced.click(advanced.ui.resetSettingsButton)
    assert advanced.parameters.settings == "{}" and channels.widget.value == SegmentSettings().channels


def test_a_setting_put_back_to_its_default_is_not_a_change_any_more(advanced):
    _, channels = row(advanced, "channels")
    default = channels.widget.value
    channels.widget.value = default + 1
    channels.widget.value = default
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
    assert row(advanced, "channels")[1].read() == preset("paper").channels
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
