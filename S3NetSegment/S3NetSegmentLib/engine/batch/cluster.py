"""Workers on a cluster: a running dask.distributed scheduler gets the same cases, and retries those whose worker is lost.

dask.distributed is optional: it is imported only where a scheduler is named. The workers need the same files at the same
paths (a shared file system), and the packages of this software; the software itself they load from the folder that it is in
here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ... import __version__
from ..common.errors import InputError, ResourceError
from .case import Case
from .one_case import lost_record
from .output_names import announced
from .workers import Event

PACKAGES = Path(__file__).resolve().parents[3]  # the folder that holds S3NetSegmentLib
_CONNECTING = 20  # seconds


class Cluster:
    """The workers of the scheduler at ``address``.

    :raises InputError: dask.distributed is not installed, or the address is none.
    :raises ResourceError: nothing answers there.
    """

    def __init__(self, folder: str | os.PathLike, address: str, device: str = "auto"):
        try:
            import distributed
        except ImportError:
            raise InputError(
                f"--scheduler {address} needs dask.distributed, which is not installed here; install it with 'pip install "
                "distributed' (on the workers, too), or leave --scheduler out and use --jobs"
            ) from None
        self._folder, self._device, self._address = os.path.abspath(folder), device, address
        self._futures: dict[Any, Any] = {}
        try:
            self._client = distributed.Client(address, timeout=_CONNECTING, set_as_default=False)
        except ValueError as error:
            raise InputError(
                f"scheduler {address!r} is not an address ({error}); write e.g. tcp://node1:8786"
            ) from None
        except (OSError, TimeoutError) as error:
            told = " ".join(str(error).split())[:200] or type(error).__name__
            raise ResourceError(f"no dask scheduler answers at {address!r} ({told}); is it running?") from None

    def describe(self) -> str:
        """The cluster in one line."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        memory = [w["memory_limit"] for w in workers if w.get("memory_limit")]
        bound = f", each at most {min(memory) >> 20:,} MB of memory" if memory else ""
        return f"{len(workers)} workers at {self._address}{bound}"

    def events(self, cases: Iterable[Case]) -> Iterator[Event]:
        """Gives ``cases`` to the scheduler; yields what happens. Closing the iterator cancels what is not finished."""
        import distributed

        case_of = {}
        with announced(self._folder) as run:  # results of another batch must not be taken for ours
            try:
                for number, case in enumerate(cases):
                    future = self._client.submit(
                        _on_worker(), str(PACKAGES), __version__, case.as_plain(), self._folder,
                        self._device, run, key=f"s3net-{run}-{number}", pure=False, retries=1, priority=-number,
                    )  # fmt: skip
                    case_of[future.key] = case
                    self._futures[future.key] = future
                for future in distributed.as_completed(list(self._futures.values()), loop=self._client.loop):
                    case = case_of[future.key]
                    self._futures.pop(future.key, None)
                    if future.status == "cancelled":
                        continue
                    yield Event("finished", case, self._record(future, case))
                    future.release()
            finally:
                left, self._futures = list(self._futures.values()), {}
                with contextlib.suppress(Exception):  # the scheduler may be gone; nothing is left to stop then
                    self._client.cancel(left, force=True)
                with contextlib.suppress(Exception):
                    self._client.close(timeout=5)

    def stop_giving(self) -> None:
        running = {key for keys in self._client.processing().values() for key in keys}
        waiting = [future for key, future in self._futures.items() if key not in running]
        self._client.cancel(waiting)

    def _record(self, future, case: Case) -> dict:
        error = future.exception()
        if error is None:
            return future.result()
        told = f"the cluster could not do it: {type(error).__name__}: {error}"
        if type(error).__name__ == "KilledWorker":
            told = (
                "the workers that had this case were lost again and again; often their memory was not enough: use workers "
                "with more memory"
            )
        return lost_record(case, self._folder, told)


def _on_worker():
    """The function that travels to the workers: by its text, since they do not have this package yet."""

    def run(packages: str, version: str, case: dict, folder: str, device: str, name: str) -> dict:
        import sys

        if packages not in sys.path:
            sys.path.insert(0, packages)
        import S3NetSegmentLib

        if S3NetSegmentLib.__version__ != version:
            raise RuntimeError(
                f"the worker has S3NetSegment {S3NetSegmentLib.__version__}, the batch {version}; restart the workers"
            )
        from .one_case import run_alone

        return run_alone(case, folder, device, name)

    run.__module__ = "__main__"  # cloudpickle sends what belongs to no importable module by value
    return run
