#!/usr/bin/env python3
"""Makes the picture of the module in the README: its panel after one point on a shipped image, and the slice view.

    python3 Testing/panel_picture.py [OUT.png]        (default: Resources/Pictures/panel.png)

The panel is the real one over the test stand-in for Slicer's Qt (colours and fonts differ a little from Slicer's own);
image, segment and slice view come from Slicer's core. Needs slicer-core, PyQt5 and offscreen OpenGL.
"""

import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTING), str(TESTING.parent / "S3NetSegment")]

import headless_slicer  # noqa: E402
import numpy as np  # noqa: E402
import qt_stand_in  # noqa: E402
from paths import MODULE, REPOSITORY, SAMPLE_DATA  # noqa: E402
from slice_pictures import SlicePicture, why_no_pictures  # noqa: E402

SAMPLE = "mr_brain_tumour"
PANEL_SIZE, VIEW_SIZE = (440, 660), (620, 620)


def main(output: Path) -> int:
    problem = None if qt_stand_in.AVAILABLE else qt_stand_in.WHY_NOT
    problem = problem or why_no_pictures()
    if problem:
        print(f"no picture can be made: {problem}", file=sys.stderr)
        return 1
    headless = headless_slicer.start()
    application = qt_stand_in.install(headless)
    volume_node, center = load_sample()
    view = SlicePicture(headless, volume_node, "Axial", size=VIEW_SIZE)
    view.show_slice_at(center)
    application.layoutManager().show(view.node)

    from panel_driver import PanelDriver

    module, widget = qt_stand_in.open_module(MODULE / "S3NetSegment.py")
    panel = PanelDriver(module, widget, application, headless)
    widget.parent.resize(*PANEL_SIZE)
    panel.place("inside", center)
    panel.segment()
    if panel.message:
        print(f"no picture can be made: {panel.message}", file=sys.stderr)
        return 1
    panel.settle(0.3)
    output.parent.mkdir(parents=True, exist_ok=True)
    saved = save_side_by_side(widget.parent.grab(), view, output)
    panel.close()
    view.close()
    return 0 if saved else 1


def load_sample():
    """``(volume node, world position inside the largest labelled part)`` of the sample."""
    import slicer
    from scipy import ndimage

    from S3NetSegmentLib.engine.images.reading import read_image
    from S3NetSegmentLib.scene.transforms import matrix_from_array

    image, labels = (read_image(SAMPLE_DATA / f"{SAMPLE}{end}.nii.gz") for end in ("", "_labels"))
    number = int((labels.array > 0).sum(axis=(1, 2)).argmax())
    depth = ndimage.distance_transform_edt(labels.array[number] > 0)
    j, i = np.unravel_index(depth.argmax(), depth.shape)
    node = slicer.util.addVolumeFromArray(np.array(image.array), name="Brain tumour, T1 MR")
    node.SetIJKToRASMatrix(matrix_from_array(image.ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    return node, tuple(float(v) for v in image.ras_of((i, j, number)))


def save_side_by_side(panel, view, output: Path) -> bool:
    """Panel and slice view on one picture."""
    import qt

    array = np.ascontiguousarray(view.array())
    height, width = array.shape[:2]
    slice_image = qt.QImage(array.tobytes(), width, height, 3 * width, qt.QImage.Format_RGB888)
    tall = max(panel.height(), height)
    canvas = qt.QPixmap(panel.width() + width, tall)
    canvas.fill(qt.QColor(0, 0, 0))
    painter = qt.QPainter(canvas)
    painter.drawPixmap(0, 0, panel)
    painter.drawImage(panel.width(), (tall - height) // 2, slice_image)
    painter.end()
    return canvas.save(str(output))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "Resources" / "Pictures" / "panel.png"))
