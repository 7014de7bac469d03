"""The steps of a volume's ladder: which candidates have one, and how many voxels each may have.

A candidate's size is known from its supervoxels before its border is refined, which changes it by some per cent. To sort
a ladder of hundreds of refined masks they would all have to be made at every click. Small ones, which change most, are
made and counted; each larger one gets the room up to half way to its neighbours and keeps to it when it is made.
"""

from __future__ import annotations

import numpy as np

from ...common.progress import Step, Steps
from ..regions.volume_graph import RegionGraph
from .volume_candidates import VolumeCandidates
from .volume_masks import MARGIN, LazyMasks, object_part

_COUNTED = 500_000  # voxels in the boxes of the masks that are counted: about 0.1 s
_AT_ONCE = 100_000  # voxels counted in one step


def volume_ladder(
    graph: RegionGraph, candidates: VolumeCandidates, best_first: list[int], inside=(), outside=()
) -> Steps[tuple[list[int], LazyMasks]]:
    """Candidates from small to large with masks whose sizes ascend strictly, as a generator of progress steps.

    :param best_first: numbers of candidates, the best first; of those that have the same size only the best gets a step.
    :param inside, outside: points (k, j, i) that each mask holds, or does not.
    """
    size = np.rint(candidates.volume / float(np.prod(graph.spacing))).astype(np.int64)
    boxes = np.prod(candidates.high - candidates.low + 1 + 2 * MARGIN, 1)[best_first]
    order = np.argsort(boxes, kind="stable")
    reached = np.cumsum(boxes[order])
    told = 0
    for number, done in zip(order[reached <= _COUNTED], reached, strict=False):
        if done - told > _AT_ONCE:
            told = done
            yield Step(float(done / _COUNTED), "Laying borders")
        at = best_first[number]
        size[at] = np.count_nonzero(object_part(graph, candidates.sets[at], inside, outside)[1])
    step_of: dict[int, int] = {}
    for at in best_first:
        step_of.setdefault(int(size[at]), at)
    sizes = np.array(sorted(step_of))
    halves = (sizes[:-1] + sizes[1:]) // 2
    rooms = np.stack((np.concatenate(([1], halves + 1)), np.concatenate((halves, [graph.labels.size]))), 1)
    ladder = [step_of[n] for n in sizes.tolist()]
    return ladder, LazyMasks(graph, candidates.sets[ladder], rooms, inside, outside)
