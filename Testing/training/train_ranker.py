"""Rebuilds the ranker of the engine from synthetic scenes alone: ``python3 Testing/training/train_ranker.py``.

Scenes from several generator seeds are segmented by the product's own code; networks of several seeds then learn, click
by click, to give the candidates that fit the meant object best the highest score. No real image is used. The same
options give the same file on the same machine. About ten minutes on two cores.
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
from queries import Query, scene_queries  # noqa: E402
from ranker_files import save_rankers  # noqa: E402

from S3NetSegmentLib.engine.segment.objects.ranked import WEIGHTS  # noqa: E402
from S3NetSegmentLib.engine.segment.objects.slice_features import COLUMN  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="file to write (default: the engine's own)")
    parser.add_argument("--generators", type=int, default=5, help="number of generator seeds (default %(default)s)")
    parser.add_argument("--scenes", type=int, default=300, help="scenes of each generator (default %(default)s)")
    parser.add_argument("--networks", type=int, default=5, help="networks to average (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the data (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default %(default)s)")
    parser.add_argument("--queries", type=Path, help="keep the queries there, or take them from there if it exists")
    parser.add_argument("--processes", type=int, default=2, help="processes for the scenes (default %(default)s)")
    options = parser.parse_args()

    start = time.monotonic()
    if options.queries and options.queries.exists():
        train, held_out = pickle.loads(options.queries.read_bytes())
    else:
        train, held_out = gather(options)
        if options.queries:
            options.queries.write_bytes(pickle.dumps((train, held_out)))
    print(f"{len(train)} clicks to train, {len(held_out)} held out; {time.monotonic() - start:.0f} s", flush=True)
    rankers = {}
    for kind in ("grey", "colour"):
        own = [q for q in train if q.colour == (kind == "colour")]
        ranker = fit_ranker(own, networks=options.networks, epochs=options.epochs, seed=options.seed)
        report(f"{kind}, training", own, ranker)
        report(f"{kind}, held-out", [q for q in held_out if q.colour == (kind == "colour")], ranker)
        ranker.about = {
            "source": "synthetic scenes, Testing/training/train_ranker.py", "generators": options.generators,
            "scenes": options.scenes, "clicks": len(own), "networks": options.networks, "epochs": options.epochs,
            "seed": options.seed,
        }  # fmt: skip
        rankers[kind] = ranker
    save_rankers(rankers, options.output)
    print(f"wrote {options.output}, {options.output.stat().st_size} bytes; {time.monotonic() - start:.0f} s")


def gather(options) -> tuple[list[Query], list[Query]]:
    """Queries of all scenes, of which those of the last tenth of each generator are held out."""
    jobs = [(options.seed * 1000 + g, n) for g in range(options.generators) for n in range(options.scenes)]
    train, held_out = [], []
    with get_context("spawn").Pool(options.processes) as pool:
        for done, ((_, number), queries) in enumerate(zip(jobs, pool.imap(_work, jobs, chunksize=4), strict=True), 1):
            (train if number < 0.9 * options.scenes else held_out).extend(queries)
            if done % 50 == 0:
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
    return scene_queries(*job)


if __name__ == "__main__":
    main()
