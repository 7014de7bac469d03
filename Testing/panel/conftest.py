"""The module's panel, opened over real MRML and a stand-in for Slicer's Qt, with a small engine behind it."""

from __future__ import annotations

from types import SimpleNamespace

import headless_slicer
import numpy as np
import pytest
import qt_stand_in
import slicer
from paths import ARTIFACTS, MODULE

_MISSING = [part.WHY_NOT for part in (headless_slicer, qt_stand_in) if not part.AVAILABLE]
collect_ignore_glob = ["test_*.py"] if _MISSING else []


def pytest_report_header(config):
    return f"panel tests skipped: {'; '.join(_MISSING)}" if _MISSING else None


if not _MISSING:
    headless = headless_slicer.start()
    application = qt_stand_in.install(headless)

    import slicer
    from fake_engine import FakeEngine
    from panel_driver import PanelDriver

    @pytest.fixture
    def scene():
        """An empty scene."""
        yield headless.new_scene()
        headless.new_scene()

    @pytest.fixture
    def volume_node(scene):
        """40 x 36 x 12 voxels of 1 x 1 x 2 mm, noise and a bright ball around voxel (20, 18, 6)."""
        k, j, i = np.mgrid[:12, :36, :40]
        ball = (i - 20) ** 2 + (j - 18) ** 2 + (2 * (k - 6)) ** 2 < 64
        noise = np.random.default_rng(0).normal(0, 8, ball.shape)
        node = slicer.util.addVolumeFromArray((100 + 150 * ball + noise).astype(np.int16), name="MR head")
        node.SetSpacing(1, 1, 2)
        node.SetOrigin(-20, -18, -12)
        return node

    @pytest.fixture
    def views(volume_node):
        """Three slice views with names that are not Slicer's usual ones, showing the volume."""
        names = (("Left", "Axial"), ("Middle", "Sagittal"), ("Right", "Coronal"))
        nodes = [headless.add_slice_view(name, orientation, volume_node) for name, orientation in names]
        application.layoutManager().show(*nodes)
        yield SimpleNamespace(axial=nodes[0], sagittal=nodes[1], coronal=nodes[2])
        application.layoutManager().show()

    @pytest.fixture
    def module(scene, monkeypatch):
        """S3NetSegment.py as a script imports it; the engine is a small one."""
        import importlib

        import S3NetSegmentLib.engine.segment.find_regions as real

        engine = FakeEngine()
        import S3NetSegmentLib.engine.segment.run  # noqa: F401  # else it would keep the stand-in for all later tests

        monkeypatch.setattr(real, "find_regions", engine)
        module = importlib.import_module("S3NetSegment")
        module.engine = engine
        return module

    @pytest.fixture
    def open_panel(scene, views):
        """Opens the panel: ``open_panel(find_regions=...)`` gives a PanelDriver."""
        from qt_stand_in.qt_module import slot_failures

        opened = []
        slot_failures.clear()
        application.settings().clear()

        def opener(find_regions=None, make_few_shot=None):
            module, widget = qt_stand_in.open_module(MODULE / "S3NetSegment.py", find_regions, make_few_shot)
            opened.append(PanelDriver(module, widget, application, headless))
            return opened[-1]

        yield opener
        for driver in opened:
            driver.close()
        assert not slot_failures, f"a slot raised {slot_failures[0]!r}"

    @pytest.fixture
    def keep_picture():
        """Keeps a picture of a widget for people to look at."""
        ARTIFACTS.mkdir(exist_ok=True)

        def keep(widget, name):
            for _ in range(3):
                slicer.app.processEvents()  # so that layouts follow the last texts
            assert widget.grab().save(str(ARTIFACTS / f"{name}.png"))

        return keep
