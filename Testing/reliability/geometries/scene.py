"""The tasks of the geometry suite done in Slicer: real MRML nodes in, segmentation nodes out."""

from __future__ import annotations

from pathlib import Path

import headless_slicer
import numpy as np
import qt_stand_in

from S3NetSegmentLib.engine import Segmentation

from .files import CLASSICAL, NETWORK, Files, few_shot_settings
from .images import KnownImage, random_transform
from .tasks import NAME, GeometryTask

MISSING = [part.WHY_NOT for part in (headless_slicer, qt_stand_in) if not part.AVAILABLE]
_COMPONENT_CLASS = {False: "vtkMRMLScalarVolumeNode", True: "vtkMRMLVectorVolumeNode"}


class Scene:
    """A booted Slicer without its window; every task gets an empty scene."""

    def __init__(self):
        self._app = headless_slicer.start()
        qt_stand_in.install(self._app)
        import S3NetSegment

        self._logic = S3NetSegment.S3NetSegmentLogic()

    def answer(self, task: GeometryTask, rng: np.random.Generator) -> np.ndarray:
        """Labels ``[K, J, I]`` on the grid of the image, 1, 2, ... in the order of the segments, as Slicer exports them."""
        self._app.new_scene()
        volume = self._volume(task.image, rng)
        if task.method == "model":
            node = self._logic.applyModel(volume, task.model, device="cpu")
        elif task.method in ("few-shot", "other image", "planes"):
            node = self._few_shot(task, volume, rng)
        else:
            node = self._segment(task, volume, rng)
        return self._exported(node, volume)

    def batch(self, files: Files) -> Segmentation:
        """The task as a case of a batch in Slicer, from files to files."""
        from slicer_files import as_in_slicer

        from S3NetSegmentLib.scene.batch import SceneFiles

        self._app.new_scene()
        with as_in_slicer():
            return files.by_batch(SceneFiles())

    def refuses_a_bend(self, task: GeometryTask) -> bool:
        """Whether a non-linear parent transform is refused with a reason, and nothing is left in the scene."""
        from mrml import add_bend, put_under

        from S3NetSegmentLib.engine import InputError

        self._app.new_scene()
        volume = self._volume(task.image, np.random.default_rng(0))
        put_under(volume, add_bend())
        before = self._app.scene.GetNumberOfNodes()
        try:
            self._logic.segment(volume, points=[task.image.volume().ras_of(task.image.center)], device="cpu")
        except InputError as error:
            return "non-linear" in str(error) and self._app.scene.GetNumberOfNodes() == before
        return False

    def read_by_slicer(self, path: Path, image: KnownImage) -> None:
        """Raises AssertionError unless Slicer's own reader shows every voxel of ``path`` where it is. It may turn axes."""
        import slicer
        from slicer_files import read_volume

        from S3NetSegmentLib.scene.volumes import volume_from_node

        self._app.new_scene()
        node = read_volume(path, image.is_rgb)
        found = volume_from_node(node)
        to_file = np.linalg.solve(image.ijk_to_ras, found.ijk_to_ras)
        steps = np.rint(to_file[:3])
        tolerance = 1e-3 if str(path).endswith(".nii.gz") else 1e-6  # NIfTI keeps the grid as 32 bit numbers
        if np.abs(to_file[:3] - steps).max() > tolerance * max(image.mask.shape):
            raise AssertionError("Slicer reads the image on another grid")
        index = np.indices(found.array.shape[:3])[::-1].reshape(3, -1)
        i, j, k = (steps[:, :3] @ index + steps[:, 3:]).astype(int)
        there = image.array[image.frame][k, j, i].reshape(found.array.shape)
        if not np.array_equal(there, found.array):
            raise AssertionError("Slicer reads other values there")
        slicer.mrmlScene.RemoveNode(node)

    def through_slicer(self, path: Path, again: Path) -> None:
        """Loads the segmentation file ``path`` in Slicer and has Slicer save it as ``again``."""
        from slicer_files import read_segmentation, save_node

        self._app.new_scene()
        assert save_node(read_segmentation(path), again)

    def _volume(self, image: KnownImage, rng):
        """The node of ``image``: its voxels and matrix under its parents; a time series as a sequence at its frame."""
        from mrml import add_transform, add_volume, put_under

        node = add_volume(image.array[image.frame], image.stored, "known", _COMPONENT_CLASS[image.is_rgb])
        if image.is_series:
            node = self._sequence(image, node)
        parent = None
        for matrix in image.parents[::-1]:
            parent = add_transform(matrix, parent)
        if parent is not None:
            put_under(node, parent)
        return node

    def _sequence(self, image: KnownImage, node):
        import slicer
        from mrml import add_volume

        sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode")
        for number, frame in enumerate(image.array):
            shown = add_volume(frame, image.stored, f"frame {number}")
            sequence.SetDataNodeAtValue(shown, str(number))
            slicer.mrmlScene.RemoveNode(shown)
        slicer.mrmlScene.RemoveNode(node)
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        browser.SetSelectedItemNumber(image.frame)
        self._app.logics["Sequences"].UpdateProxyNodesFromSequences(browser)
        return browser.GetProxyNode(sequence)

    def _segment(self, task: GeometryTask, volume, rng):
        options = {"device": "cpu"}
        if task.method == "regions":
            options["regions"] = 3
        else:
            options["points"] = self._points(task, rng)
            options["settings"] = _values(NETWORK if task.method == "network" else CLASSICAL)
        if task.slices:
            options |= {"scope": "range", "sliceRange": task.slices, "axis": task.axis}
        return self._logic.segment(volume, **options)

    def _points(self, task: GeometryTask, rng):
        """The point as a position or as markups, perhaps under a transform of their own."""
        import slicer
        from mrml import add_transform, put_under

        place = [float(v) for v in task.image.volume().ras_of(task.image.center)]
        if rng.random() < 0.5:
            return [place]
        markups = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
        if rng.random() < 0.5 and task.image.grid in ("plain", "oblique"):
            put_under(markups, add_transform(random_transform(rng)))
        markups.AddControlPointWorld(*place)
        return markups

    def _few_shot(self, task: GeometryTask, volume, rng):
        drawn_on = volume if task.other is None else self._volume(task.other, rng)
        options = {
            "settings": _values(few_shot_settings(task)),
            "encoder": "default",
            "device": "cpu",
            "axis": task.axis,
        }
        options["partial"] = task.partial
        if task.method == "planes":
            options["slices"] = [*task.slices, self._oblique_view(task.drawn_on, drawn_on)]
        if task.other is not None:
            options["otherVolumeNode"] = volume
        return self._logic.fewShot(drawn_on, self._drawn(task, drawn_on, rng), **options)

    def _oblique_view(self, image: KnownImage, volume):
        """A slice view turned by 20 degrees out of the slices, through the centre of the object."""
        from S3NetSegmentLib.scene.volumes import array_from_matrix, matrix_from_array

        view = self._app.add_slice_view("Red", "Axial", volume)
        view.RotateToVolumePlane(volume)
        angle = np.radians(20)
        tilt = np.eye(4)
        tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        view.GetSliceToRAS().DeepCopy(matrix_from_array(array_from_matrix(view.GetSliceToRAS()) @ tilt))
        view.UpdateMatrices()
        view.JumpSliceByOffsetting(*image.volume().ras_of(image.center))
        return view

    def _drawn(self, task: GeometryTask, volume, rng):
        """A segmentation with the drawing, as Slicer's own tools leave it: under the transform of the volume or another
        one, its labels on the voxels of the volume. With an oblique view the object is drawn there, too."""
        import slicer
        import vtk
        from mrml import add_transform, put_under
        from vtk.util.numpy_support import numpy_to_vtk

        from S3NetSegmentLib.scene.volumes import matrix_from_array, world_from_parent

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawing")
        if rng.random() < 0.3:
            put_under(node, add_transform(random_transform(rng)))
        elif volume.GetTransformNodeID():
            node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        node.GetSegmentation().AddEmptySegment("ball", NAME, (0.2, 0.9, 0.3))
        drawing = task.drawing()
        if task.method == "planes":  # painted in the view: where its plane cuts the object
            from S3NetSegmentLib.engine import Volume
            from S3NetSegmentLib.scene.drawings.support_set import SupportPlane

            view = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceNode")
            grid = Volume(drawing, task.drawn_on.ijk_to_ras)
            drawing[task.drawn_on.mask & SupportPlane.of_view(view, volume).voxels(grid, grid.extent)] = 1
        image = slicer.vtkOrientedImageData()
        k, j, i = drawing.shape
        image.SetDimensions(i, j, k)
        image.GetPointData().SetScalars(numpy_to_vtk(drawing.ravel(), deep=True))
        lattice = np.linalg.solve(world_from_parent(node), task.drawn_on.ijk_to_ras)
        image.SetGeometryFromImageToWorldMatrix(matrix_from_array(lattice))
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        assert logic.SetBinaryLabelmapToSegment(image, node, "ball", logic.MODE_REPLACE, image.GetExtent())
        assert isinstance(node.GetSegmentation(), vtk.vtkObject)
        return node

    def _exported(self, node, volume) -> np.ndarray:
        from mrml import exported

        from S3NetSegmentLib.scene.segmentation.reading import segment_mask
        from S3NetSegmentLib.scene.volumes import volume_from_node

        segmentation, geometry = node.GetSegmentation(), volume_from_node(volume)
        # The scene shows the object before the regions, files hold it after them.
        ids = sorted(segmentation.GetSegmentIDs(), key=lambda i: segmentation.GetSegment(i).GetName() == "Object")
        masks = {segment_id: segment_mask(node, segment_id, geometry) for segment_id in ids}
        if node.GetTransformNodeID() != volume.GetTransformNodeID():
            for transformed in (node, volume):  # between two transforms Slicer's export would resample
                transformed.HardenTransform()
        labels = np.zeros(geometry.array.shape[:3], np.uint8)
        for number, (segment_id, mask) in enumerate(masks.items(), 1):
            if mask.any() and not np.array_equal(mask, exported(node, segment_id, volume)):
                raise AssertionError(f"Slicer exports other voxels of segment {number} than the bridge reads")
            labels[mask] = number
        return labels


def _values(assignments: tuple[str, ...]) -> dict:
    """Settings as the logic takes them."""
    pairs = (text.split("=") for text in assignments)
    return {n: int(v) if v.isdigit() else v == "on" if v in ("on", "off") else v for n, v in pairs}
