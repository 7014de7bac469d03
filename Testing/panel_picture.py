#!/usr/bin/env python3
"""Makes the pictures of the module in the documentation: its panel on a shipped image, and the slice view.

    python3 Testing/panel_picture.py [segment | few-shot | models | cohort] [OUT.png]

    segment     after a box was dragged around the liver          (default: Resources/Pictures/panel.png)
    few-shot    the preview after three drawn slices of the CT    (default: Resources/Pictures/panel_few_shot.png)
    models      a model that was trained for a minute, applied    (default: Resources/Pictures/panel_models.png)
    cohort      the second case, proposed from an accepted one    (default: Resources/Pictures/panel_cohort.png)

The panel is the real one over the test stand-in for Slicer's Qt (colours and fonts differ a little from Slicer's own);
image, segment and slice view come from Slicer's core. Needs slicer-core, PyQt5 and offscreen OpenGL.
"""

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # the event loop keeps a core busy, beside which threads of torch wait for one another
TESTING = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTING / "support"), str(TESTING.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment(for_tests=True)

import headless_slicer  # noqa: E402
import numpy as np  # noqa: E402
import qt_stand_in  # noqa: E402
from paths import MODULE, SAMPLE_DATA  # noqa: E402
from picture_record import PICTURES, note_picture  # noqa: E402
from slice_pictures import SlicePicture, why_no_pictures  # noqa: E402

PANEL_SIZE, VIEW_SIZE = (440, 760), (620, 620)
FEW_SHOT_PANEL_SIZE, MODELS_PANEL_SIZE, COHORT_PANEL_SIZE = (400, 900), (400, 1000), (400, 1060)
# name -> label value and colour; the drawn slices of the CT, and the one that the view shows, which nobody drew
ORGANS = {
    "Liver": (1, (0.86, 0.52, 0.35)), "Spleen": (2, (0.62, 0.42, 0.78)), "Right kidney": (3, (0.85, 0.78, 0.30)),
    "Left kidney": (4, (0.45, 0.75, 0.40)), "Aorta": (5, (0.85, 0.25, 0.25)),
}  # fmt: skip
DRAWN, SHOWN = (16, 30, 44), 36


def main(output: Path = PICTURES / "panel.png") -> int:
    """Segment: a box dragged around the liver."""
    image, labels = read_sample("ct_abdomen")
    liver = labels == ORGANS["Liver"][0]
    number = int(liver.sum(axis=(1, 2)).argmax())
    rows, columns = np.nonzero(liver[number])
    low, high = (image.ras_of((f(columns), f(rows), number)) for f in (np.min, np.max))

    def use(panel, view):
        panel.drag(view.node, low, (low + high) / 2, high)
        panel.wait(lambda: not panel.panel.controller.running)

    center = image.ras_of((image.size[0] / 2, image.size[1] / 2, number))
    return take_picture(image, "Abdomen, CT", center, PANEL_SIZE, use, output)


def few_shot(output: Path = PICTURES / "panel_few_shot.png") -> int:
    """Few-shot: the preview on a slice between drawn ones."""
    image, labels = read_sample("ct_abdomen")

    def use(panel, view):
        open_drawing(panel)
        for number in DRAWN:
            draw_organs(panel, labels, number)
        panel.look_at_slice(view.node, SHOWN)
        panel.propagate(seconds=300)

    center = tuple(float(v) for v in image.ras_of((image.size[0] / 2, image.size[1] / 2, SHOWN)))
    return take_picture(image, "Abdomen, CT", center, FEW_SHOT_PANEL_SIZE, use, output)


def open_drawing(panel) -> None:
    """Few-shot with the organs as empty segments."""
    panel.open_few_shot()
    panel.parameters.segmentation.GetSegmentation().RemoveAllSegments()
    for name, (_, color) in ORGANS.items():
        panel.add_segment(name, color)


def draw_organs(panel, labels, number: int) -> None:
    """Draws what ``labels`` hold in a slice."""
    for name, (value, _) in ORGANS.items():
        if (labels[number] == value).any():
            panel.draw(name, labels[number] == value, "z", number)


def models(output: Path = PICTURES / "panel_models.png") -> int:
    """Models: a run on a small cohort of the spinal cord has ended, and its model is applied to a case that is for testing."""
    with named_folder("spine") as place:
        image, center = spine_cohort(place)

        def use(panel, _view):
            train_model(panel, place)
            apply_it(panel)

        return take_picture(image, "Spinal cord, T2 MR", center, MODELS_PANEL_SIZE, use, output)


def spine_cohort(place: Path):
    """Writes the cohort to ``place``; returns a case for testing and the middle of its cord (RAS)."""
    import make_training_sample

    from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
    from S3NetSegmentLib.engine.images.reading import read_image

    make_training_sample.write_cohort(place / "cohort")
    case = f"block{make_training_sample.TEST[-1]}"
    image = read_image(place / "cohort" / "images" / f"{case}.nii.gz")
    labels = read_segmentation(place / "cohort" / "labels" / f"{case}.seg.nrrd").layers[0]
    return image, middle_of(image, labels)


def train_model(panel, place: Path, minutes: float = 1.0) -> None:
    """A tiny model of the cohort in ``place``, trained in the tab Models."""
    panel.open_models()
    ui, section = panel.panel.models.ui, panel.panel.models.training
    for edit, path in ((ui.cohortFolderEdit, place / "cohort"), (ui.runFolderEdit, place / "model")):
        edit.text = str(path)
        edit.editingFinished.emit()
    ui.trainingCollapsibleButton.collapsed = False
    panel.choose(ui.trainingPresetBox, "tiny: small, for a CPU")
    ui.trainingMinutesBox.value = minutes
    panel.click(ui.startTrainingButton)
    panel.wait(lambda: not section.run.is_busy, seconds=400)


def apply_it(panel) -> None:
    """The model that was trained there, applied."""
    ui = panel.panel.models.ui
    panel.click(ui.useModelButton)
    panel.settle(0.5)
    panel.click(ui.applyModelButton)
    panel.wait(lambda: not panel.panel.models.running, seconds=200)


def cohort(output: Path = PICTURES / "panel_cohort.png") -> int:
    """Cohort: one block of the spinal cord is accepted, the next one proposed from it."""
    with named_folder("patients") as place:
        image, center = patients(place)

        def use(panel, view):
            panel.open_cohort(place / "scans")
            propose_next(panel, view)

        return take_picture(image, "accepted before", center, COHORT_PANEL_SIZE, use, output)


def patients(place: Path):
    """Writes blocks of the spinal cord to ``place / "scans"``, one of them accepted; returns that one and the middle of its
    cord (RAS)."""
    import make_training_sample

    from S3NetSegmentLib.engine.cohort_loop.accepting import accept
    from S3NetSegmentLib.engine.cohort_loop.store import CohortStore
    from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
    from S3NetSegmentLib.engine.images.reading import read_image

    make_training_sample.write_cohort(place / "made")
    (place / "scans").mkdir()
    for path in (place / "made" / "images").iterdir():
        shutil.copy(path, place / "scans")
    first = f"block{make_training_sample.DRAWN[0]}"
    accepted = read_segmentation(place / "made" / "labels" / f"{first}.seg.nrrd")
    accept(CohortStore(place / "scans"), first, accepted)
    image = read_image(place / "scans" / f"{first}.nii.gz")
    return image, middle_of(image, accepted.layers[0])


def propose_next(panel, view) -> None:
    """Presses Next case, waits for the proposal and shows it."""
    import slicer

    ui, cases = panel.panel.cohort.ui, panel.panel.cohort.controller
    panel.click(ui.nextCaseButton)
    panel.wait(lambda: not panel.panel.cohort.running, seconds=200)
    names = [ui.loopTable.item(row, 0).text() for row in range(ui.loopTable.rowCount)]
    ui.loopTable.setCurrentCell(names.index(cases.case.name), 0)
    slicer.util.setSliceViewerLayers(background=cases.case.volume_node, fit=True)
    view.show_slice_at(middle_of(cases.case.volume, np.maximum.reduce(cases.case.shown.layers)))


def middle_of(image, labels) -> tuple[float, ...]:
    """A labelled voxel in the middle of all (RAS)."""
    found = np.argwhere(labels > 0)
    return tuple(float(v) for v in image.ras_of(found[len(found) // 2][::-1]))


@contextmanager
def named_folder(name: str):
    """An empty folder for temporary files, with a name that can be shown in a picture."""
    place = Path(tempfile.gettempdir()) / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    yield place
    shutil.rmtree(place, ignore_errors=True)


def take_picture(image, name: str, center, panel_size, use, output: Path) -> int:
    """Opens the panel on ``image``, lets ``use(panel, view)`` use it, and saves panel and view. Returns an exit code."""
    problem = why_no_panel()
    if not problem:
        with open_panel(image, name, center, panel_size) as (panel, view):
            use(panel, view)
            problem = panel.message
            panel.settle(0.3)
            output.parent.mkdir(parents=True, exist_ok=True)
            if not problem and not save_side_by_side(panel.widget.parent.grab(), view, output):
                problem = f"{output} could not be written"
            if not problem:
                note_picture(output, panel, [panel.widget.parent])
    if problem:
        print(f"no picture can be made: {problem}", file=sys.stderr)
    return 1 if problem else 0


def why_no_panel() -> str | None:
    """Why the panel cannot be shown and pictured on this machine, or None if it can."""
    return (None if qt_stand_in.AVAILABLE else qt_stand_in.WHY_NOT) or why_no_pictures()


@contextmanager
def open_panel(image, name: str, center, panel_size, view_size=VIEW_SIZE):
    """The panel in an empty scene that holds ``image``, and a view of the slice through ``center`` (RAS)."""
    headless = headless_slicer.start()
    application = qt_stand_in.install(headless)
    headless.new_scene()
    view = SlicePicture(headless, add_volume(image, name), "Axial", size=view_size)
    view.show_slice_at(center)
    application.layoutManager().show(view.node)

    from panel_driver import PanelDriver

    module, widget = qt_stand_in.open_module(MODULE / "S3NetSegment.py")
    panel = PanelDriver(module, widget, application, headless)
    widget.parent.resize(*panel_size)
    yield panel, view
    panel.close()
    view.close()


def read_sample(name: str):
    """``(image, labels [K, J, I])`` of a shipped sample."""
    from S3NetSegmentLib.engine.images.reading import read_image

    image, labels = (read_image(SAMPLE_DATA / f"{name}{end}.nii.gz") for end in ("", "_labels"))
    return image, labels.array


def add_volume(image, name: str):
    """``image`` as a node of the scene."""
    import slicer

    from S3NetSegmentLib.scene.volumes import matrix_from_array

    node = slicer.util.addVolumeFromArray(np.array(image.array), name=name)
    node.SetIJKToRASMatrix(matrix_from_array(image.ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    return node


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
    arguments = sys.argv[1:]
    uses = {"segment": main, "few-shot": few_shot, "models": models, "cohort": cohort}
    paths = [Path(text) for text in arguments if text not in uses]
    sys.exit(uses.get((arguments or ["segment"])[0], main)(*paths[:1]))
