"""What a busy machine costs a small training: steps per minute with threads that wait asleep, and with threads that spin.

    python3 Testing/benchmarks/training/busy_machine.py [--busy 2] [--seconds 8] [--repeats 3]

Each row is a process of its own that trains a small U-Net on 64 x 64 pixels; with ``--busy`` other processes compute beside it.
"spinning" is torch's own behaviour, "asleep" what OMP_WAIT_POLICY=PASSIVE makes of it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parents[2]
MODULE = TESTING.parent / "S3NetSegment"
sys.path[:0] = [str(TESTING / "support"), str(MODULE)]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

from busy_processes import busy_processes  # noqa: E402

CODE = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch
from S3NetSegmentLib.engine.nets.unet import CHANNELS, TwoStreamUNet
torch.set_num_threads(int(sys.argv[2]))
torch.manual_seed(0)
net = TwoStreamUNet(4, channels=CHANNELS["tiny"])
optimiser = torch.optim.SGD(net.parameters(), 0.01)
images, labels = torch.randn(4, 1, 64, 64), torch.randint(0, 4, (4, 64, 64))
began, steps = time.monotonic(), 0
while time.monotonic() - began < float(sys.argv[3]):
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(net(images), labels).backward()
    optimiser.step()
    steps += 1
print(60 * steps / (time.monotonic() - began))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--busy", type=int, default=2, metavar="N", help="busy processes beside the training (default 2)"
    )
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement (default 8)")
    parser.add_argument("--repeats", type=int, default=3, help="of each row (default 3)")
    options = parser.parse_args()
    print(f"steps per minute, {os.cpu_count()} cores\n{'':12} {'threads':>8} {'waiting':>9}   by repeat")
    for busy in sorted({0, options.busy}):
        with busy_processes(busy):
            for threads in (1, 2):
                for policy in ("ACTIVE", "PASSIVE"):
                    if threads == 1 and policy == "ACTIVE":
                        continue  # nobody to wait for
                    rates = [steps_per_minute(threads, policy, options.seconds) for _ in range(options.repeats)]
                    name = {"ACTIVE": "spinning", "PASSIVE": "asleep"}[policy] if threads > 1 else "-"
                    shown = " ".join(f"{rate:7.0f}" for rate in rates)
                    print(f"{busy:3} busy     {threads:>8} {name:>9}   {shown}", flush=True)


def steps_per_minute(threads: int, policy: str, seconds: float) -> float:
    """Steps per minute of the small training in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if policy == "PASSIVE":
        environment["OMP_WAIT_POLICY"] = policy
    command = [sys.executable, "-c", CODE, str(MODULE), str(threads), str(seconds)]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
