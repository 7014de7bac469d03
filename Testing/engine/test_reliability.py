"""The reliability suites themselves see what they are made to see; they run in Testing/app/test_reliability.py."""

import os
from pathlib import Path

from forked import forked, run_code

RUN = Path(__file__).resolve().parents[1] / "reliability" / "run"


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
    assert _in_suite(code) == 0


def test_the_trial_of_arguments_sees_a_wrong_exit_code_a_traceback_and_a_file_in_a_wrong_place():
    code = (
        "import sys, arguments; from pathlib import Path; from subprocess import CompletedProcess\n"
        "ends = iter([(7, ''), (1, 'Traceback (most recent call last)'), (2, ''), (2, 's3net: error: no'), (0, 'write'), (0, '')])\n"
        "def fake(*given):\n"
        "    number, text = next(ends)\n"
        "    if text == 'write': Path('elsewhere').write_text('x')\n"
        "    return CompletedProcess(given, number, '', text)\n"
        "arguments.s3net_here = fake\n"
        "found = arguments.run(6, 0)\n"
        "signs = ('exit code 7', 'Traceback', 'without a word', 'no remedy', 'it wrote')\n"
        "sys.exit(not all(any(sign in each for each in found) for sign in signs) or any('list 5' in each for each in found))"
    )
    assert _in_suite(code) == 0


def test_the_trial_of_faults_sees_half_written_files_and_results_that_differ():
    code = (
        "import sys, contextlib, faults\n"
        "if not hasattr(faults.os, 'fork'): sys.exit(0)\n"
        "from S3NetSegmentLib.engine.images import writing\n"
        "faults.WORKS = {'segment': faults.WORKS['segment']}\n"
        "faults.FAULTS = ('full disk',)\n"
        "@contextlib.contextmanager\n"
        "def in_place(path):\n"  # as if files were written where they belong at once
        "    faults.Path(path).parent.mkdir(parents=True, exist_ok=True)\n"
        "    yield path\n"
        "writing.replacing = in_place\n"
        "found = faults.run(4, 0)\n"
        "sys.exit(not any('half-written' in each or 'Traceback' in each for each in found))"
    )
    assert _in_suite(code) == 0


def _in_suite(code: str) -> int:
    """The exit code of a process that runs ``code`` beside the suites."""
    paths = [str(RUN.parent), str(RUN.parents[1] / "support"), str(RUN.parents[2] / "S3NetSegment")]
    code = f"import sys; sys.path[:0] = {paths!r}\n{code}"
    done = forked(run_code, code, variables=os.environ)
    print(done.stdout, done.stderr)
    return done.returncode
