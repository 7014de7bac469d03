"""What a script gives is checked before the work begins, and its nodes are watched until it ends: what has no effect, is not there,
or goes meanwhile is an error and not an answer to something else."""

from __future__ import annotations

from collections.abc import Sequence

from ..engine import InputError, Volume
from ..engine.common.progress import Steps
from ..scene.prompts import turned_by
from ..scene.session import SceneWatch
from ..scene.volumes import require_class

_PARTS = {"sliceRange": "range", "sliceNode": "slice", "roiNode": "roi"}  # argument -> the scope that it belongs to
_TURNED = 10.0  # degrees; up to here the box of voxels around an ROI is nearly the ROI


def require_segmentation(node, argument: str) -> None:
    """InputError unless ``node`` is None or a segmentation; ``argument`` is its name in the script."""
    if node is None:
        return
    try:
        require_class(node, "vtkMRMLSegmentationNode", "segmentation")
    except InputError as error:
        raise InputError(f"{argument}: {error}") from None
    if node.GetScene() is None:
        raise InputError(f"{argument}: {node.GetName()!r} was removed from the scene; give another one")


def require_segments(segmentation_node, segment_ids: Sequence[str] | None) -> None:
    """InputError unless ``segment_ids`` is None or lists segments of ``segmentation_node``."""
    if segment_ids is None:
        return
    if isinstance(segment_ids, str):
        raise InputError(f"segmentIds is the text {segment_ids!r}; give a list of ids, [{segment_ids!r}]")
    segmentation = segmentation_node.GetSegmentation()
    ids = list(segmentation.GetSegmentIDs())
    for given in segment_ids:
        if given not in ids:
            named = [i for i in ids if segmentation.GetSegment(i).GetName() == given]
            known = ", ".join(map(repr, named or ids)) or "no segment"
            hint = f"the id of the one called so is {known}" if named else f"it has {known}"
            raise InputError(f"segmentation {segmentation_node.GetName()!r} has no segment {given!r}; {hint}")


def require_effect(where, task) -> None:
    """InputError for an option of Segment that the other ones leave without effect.

    :param where, task: the ``Where`` and the ``SegmentTask`` of a script.
    """
    given = {"sliceRange": task.slices, "sliceNode": where.sliceNode, "roiNode": where.roiNode}
    for name, scope in _PARTS.items():
        if given[name] is not None and where.scope != scope:
            raise InputError(
                f"{name} says where to search, but scope is {where.scope!r}; give scope={scope!r} with it, or leave {name} out"
            )
    if where.segmentId:
        if where.segmentationNode is None:
            raise InputError(
                f"segmentId is {where.segmentId!r} without a segmentationNode; give the segmentation that has it"
            )
        require_segments(where.segmentationNode, [where.segmentId])
    if where.allFrames:
        options = {
            "segmentationNode": where.segmentationNode, "granularity": where.granularity, "step": task.step or None,
            "alternative": task.alternative or None, "confidence": where.confidence or None,
        }  # fmt: skip
        if useless := ", ".join(name for name, value in options.items() if value is not None):
            raise InputError(
                f"allFrames makes a new segmentation that follows the frames, each with its best answer; leave {useless} out"
            )
    if where.granularity is not None:
        if not task.has_prompts:
            raise InputError(
                "granularity is the size of an object that is pointed at; for regions give their number, regions=6"
            )
        if where.granularity < 0:
            raise InputError(f"granularity is {where.granularity}; it counts from 0, the smallest object")


def granularity_notes(granularity: int | None, steps: int) -> list[str]:
    """What a script should know of a granularity beyond the ``steps`` that an object has."""
    if granularity is None or granularity < steps:
        return []
    return [f"granularity {granularity} goes beyond the candidates found here; the largest of {steps} was taken"]


def require_along(roi_node, volume: Volume) -> None:
    """InputError for an ROI that is turned so far that the box of voxels around it is another one."""
    turned = turned_by(roi_node, volume)
    if turned > _TURNED:
        raise InputError(
            f"ROI {roi_node.GetName()!r} is turned by {turned:.0f} degrees against the slices of {volume.name!r}, so that the box of "
            "voxels around it is much larger; turn it along them, or point at the object and search in the ROI "
            "(scope='roi', roiNode)"
        )


def while_they_stay(steps: Steps, *nodes) -> Steps:
    """``steps`` and what they return, as long as no one of ``nodes`` (None is passed over) is removed and no volume among them
    is changed, moved or shows another frame of a sequence.

    :raises InputError: as soon as that happens; nothing is written then.
    """
    lost: list[str] = []
    watch = SceneWatch(nodes, lost.append)
    try:
        while not lost:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            yield step
    finally:
        watch.stop()
        steps.close()
    raise InputError(f"{lost[0]} before the answer was there, so nothing was written; start again")
