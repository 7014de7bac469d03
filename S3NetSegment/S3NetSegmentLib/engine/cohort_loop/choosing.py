"""Which accepted patients a proposal is made from, and which case comes next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..common.errors import InputError, ResourceError
from ..common.progress import Step, Steps, as_part_of
from ..images import Volume
from ..images.image_warnings import collected_image_warnings
from ..images.intensity import intensity_scale
from ..images.reading import read_alone
from ..images.resample import shrunk_features
from .store import CohortStore

LOOKS = "looks"  # sub-folder of what images look like, roughly
_CELLS = (8, 16, 16)  # of such a look: slices, rows, columns


def look_of(volume: Volume) -> Steps[np.ndarray]:
    """What ``volume`` looks like, roughly: normalised intensities of a coarse grid, ``[n]`` of length 1 around their mean."""
    shape = tuple(min(n, m) for n, m in zip(volume.array.shape[:3], _CELLS, strict=True))
    small = (yield from shrunk_features(volume.array, intensity_scale(volume), shape))[..., 0]
    places = [np.linspace(0, n - 1, m).round().astype(int) for n, m in zip(shape, _CELLS, strict=True)]
    look = small[np.ix_(*places)].ravel().astype(np.float32)
    look -= look.mean()
    return look / max(float(np.linalg.norm(look)), 1e-6)


def kept_look(store: CohortStore, case: str, image: Path, volume: Volume | None = None) -> Steps[np.ndarray]:
    """The look of ``case``, whose image is the file or folder ``image``: from the folder where its image is still the same; else it is made from ``volume`` (None: read)
    and kept. Raises InputError or ResourceError for an image that cannot be read."""
    kept = store.read(f"{LOOKS}/{case}.json")
    facts = store.image_facts(case, kept.get("image"), image)
    look = kept.get("look")
    if kept.get("image", {}).get("sha256") == facts["sha256"] and isinstance(look, list):
        found = np.array(look, np.float32)
        if found.shape == (np.prod(_CELLS),):
            return found
    if volume is None:
        yield Step(0.0, f"Looking at {case}")
        with collected_image_warnings():
            volume = read_alone(image)
    look = yield from look_of(volume)
    # Write-protected, or full: then it is made again the next time.
    with contextlib.suppress(InputError, ResourceError):
        store.write(f"{LOOKS}/{case}.json", {"image": facts, "look": [round(float(v), 4) for v in look]})
    return look


def nearest_accepted(
    store: CohortStore, case: str, volume: Volume, count: int, among: Iterable[str] | None = None
) -> Steps[list[str]]:
    """Up to ``count`` accepted cases that look most like ``case``, the likest first; all in the order of their names if there
    are no more. Only those that are still in the folder, and, if given, ``among`` these."""
    images = store.found().images
    names = [name for name in (store.accepted() if among is None else among) if name in images and name != case]
    if len(names) <= count:
        return names
    look = yield from kept_look(store, case, images[case], volume)
    likeness = {name: float(look @ other) for name, other in (yield from _looks(store, names, images)).items()}
    return sorted(likeness, key=lambda name: -likeness[name])[:count]


def _looks(store: CohortStore, names: Sequence[str], images: Mapping[str, Path]) -> Steps[dict[str, np.ndarray]]:
    """The look of each case that can be read; why others cannot is reported where they are used."""
    found = {}
    for n, name in enumerate(names):
        yield Step(n / len(names), "Comparing the cases")
        with contextlib.suppress(KeyError, InputError, ResourceError):
            work = kept_look(store, name, images[name])
            found[name] = yield from as_part_of(work, n / len(names), (n + 1) / len(names))
    return found


def most_helpful(store: CohortStore, open_cases: Iterable[str], accepted: Iterable[str]) -> Steps[list[str]]:
    """``open_cases`` in the order in which accepting them helps the others most: first the one that makes the cases that are
    left look most like an accepted one. Cases that cannot be read come last."""
    names, images = list(open_cases), store.found().images
    looks = yield from as_part_of(_looks(store, names, images), 0.0, 0.5)
    unreadable = [name for name in names if name not in looks]
    if not looks:
        return unreadable
    covered = np.full(len(looks), -1.0)
    table = np.array(list(looks.values())).reshape(len(looks), -1)
    for look in (yield from as_part_of(_looks(store, list(accepted), images), 0.5, 1.0)).values():
        covered = np.maximum(covered, table @ look)
    likeness, order, left = table @ table.T, [], list(range(len(looks)))
    while left:
        gain = [float(np.maximum(likeness[left, n], covered[left]).sum()) for n in left]
        best = left.pop(int(np.argmax(gain)))
        covered = np.maximum(covered, likeness[:, best])
        order.append(list(looks)[best])
    return order + unreadable
