"""Rebuilds the ranker for volumes from synthetic scenes alone: ``python3 Testing/training/volume_train_ranker.py``.

Works like ``train_ranker.py``, with volumes. No real image is used. The same options give the same file on the same
machine. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import time
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")  # the work is shared out to processes
_testing = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_testing / "training"), str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

from multiprocessing import get_context  # noqa: E402

import numpy as np  # noqa: E402
from fitting import fit_ranker  # noqa: E402
from queries import Query  # noqa: E402
from ranker_files import save_rankers  # noqa: E402
from volume_queries import volume_queries  # noqa: E402

from S3NetSegmentLib.engine.segment.objects.volume_features import COLUMN, NAMES  # noqa: E402
from S3NetSegmentLib.engine.segment.objects.volume_objects import WEIGHTS  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="file to write (default: the engine's own)")
    parser.add_argument("--generators", type=int, default=3, help="number of generator seeds (default %(default)s)")
    parser.add_argument("--scenes", type=int, default=200, help="scenes of each generator (default %(default)s)")
    parser.add_argument("--networks", type=int, default=5, help="networks to average (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=60, help="passes over the data (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="processes for the scenes (default %(default)s)")
    parser.add_argument("--keep", type=Path, help="file for the clicks: read if it is there, else written")
    options = parser.parse_args()

    start = time.monotonic()
    if options.keep and options.keep.exists():
        train, held_out = pickle.loads(options.keep.read_bytes())
    else:
        train, held_out = gather(options)
        if options.keep:
            options.keep.write_bytes(pickle.dumps((train, held_out)))
    print(f"{len(train)} clicks to train, {len(held_out)} held out; {time.monotonic() - start:.0f} s", flush=True)
    ranker = fit_ranker(train, networks=options.networks, epochs=options.epochs, seed=options.seed, names=NAMES)
    for name, queries in (("training", train), ("held-out", held_out)):
        report(name, queries, ranker)
    ranker.about.update(
        source="synthetic volumes", generators=options.generators, scenes=options.scenes, clicks=len(train),
        networks=options.networks, epochs=options.epochs, seed=options.seed,
    )  # fmt: skip
    save_rankers({"": ranker}, options.output)
    print(f"wrote {options.output}, {options.output.stat().st_size} bytes; {time.monotonic() - start:.0f} s")


def gather(options) -> tuple[list[Query], list[Query]]:
    """Queries of all scenes, of which those of the last tenth of each generator are held out."""
    jobs = [(options.seed * 1000 + g, n) for g in range(options.generators) for n in range(options.scenes)]
    train, held_out = [], []
    with get_context("spawn").Pool(options.processes) as pool:
        for done, ((_, number), queries) in enumerate(zip(jobs, pool.imap(_work, jobs, chunksize=2), strict=True), 1):
            (train if number < 0.9 * options.scenes else held_out).extend(queries)
            if done % 20 == 0:
                print(f"{done} of {len(jobs)} scenes", flush=True)
    return train, held_out


def report(name: str, queries: list[Query], ranker) -> None:
    """Mean Dice of the ranker's choice, of the hand-made score's choice and of the best candidate."""
    if not queries:
        return
    learned = np.mean([q.dice[ranker.score(q.table).argmax()] for q in queries])
    hand = np.mean([q.dice[q.table[:, COLUMN["log_hand"]].argmax()] for q in queries])
    best = np.mean([q.dice.max() for q in queries])
    print(f"{name} clicks: ranker {learned:.3f}, hand-made score {hand:.3f}, best candidate {best:.3f}")


def _work(job: tuple[int, int]) -> list[Query]:
    return volume_queries(*job)


if __name__ == "__main__":
    main()
