"""The short form of the reliability suites; the long one is ``python3 Testing/reliability/run --long``."""

import re
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).resolve().parents[1] / "reliability" / "run"


def test_hostile_inputs_are_read_or_refused():
    command = [sys.executable, str(RUN), "--suite", "fuzz", "--inputs", "60"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert re.search(r"fuzz +60 inputs in .* 0 failures", done.stdout), done.stdout


def test_the_fuzzer_itself_sees_a_wrong_error_and_a_file_that_appears(tmp_path):
    code = (
        "import sys, fuzz; from pathlib import Path\n"
        "def targets(folder):\n"
        "    def wrong(rng): raise KeyError('x')\n"
        "    def writes(rng): Path(folder, 'new' + str(rng.integers(1 << 40))).write_text('x')\n"
        "    return {'a': wrong, 'b': writes}\n"
        "fuzz._targets = targets\n"
        "found = fuzz.run(2, 0)\n"
        "sys.exit(not (len(found) == 2 and 'KeyError' in found[0] and 'it wrote' in found[1]))"
    )
    paths = [str(RUN.parent), str(RUN.parents[1]), str(RUN.parents[2] / "S3NetSegment")]
    code = f"import sys; sys.path[:0] = {paths!r}\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
