"""Makes the module's package and the test helpers importable."""

import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parent
for folder in (TESTING, TESTING.parent / "S3NetSegment"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
