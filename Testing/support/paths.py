"""Where tests and benchmarks find things."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "S3NetSegment"
SAMPLE_DATA = REPOSITORY / "Resources" / "SampleData"
ARTIFACTS = REPOSITORY / "Testing" / "artifacts"  # pictures that tests keep for people to look at; not in git
_shared = REPOSITORY.parent / "shared" / "data"
SHARED_DATA = _shared if _shared.is_dir() else None  # the larger labelled set, beside the repository where it exists
