"""Lets the scripts of Testing be started with any Python: they go on in the environment of s3net, made if need be.

A script calls :func:`enter_environment` before its first import of a package, and only where it is the program itself.
Standard library only.
"""

import os
import sys
from pathlib import Path

from S3NetSegmentLib.cli.environment import REENTERED, RUNTIME, enter
from S3NetSegmentLib.engine.common.errors import ResourceError

_TESTS = Path(__file__).resolve().parents[1] / "requirements.txt"


def enter_environment(for_tests: bool = False) -> None:
    """Returns if this interpreter has what is needed; otherwise the script starts again in one that has.

    :param for_tests: the script needs the packages of the tests, too (Slicer's core, PyQt5, pydicom).
    """
    script = Path(sys.argv[0]).resolve()
    try:
        enter(str(script), sys.argv[1:], (RUNTIME, _TESTS) if for_tests else (RUNTIME,))
    except ResourceError as problem:
        raise SystemExit(f"{script.name}: error: {problem}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    os.environ.pop(REENTERED, None)  # a note for this process; what the script starts may need another environment
