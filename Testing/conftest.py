"""Makes the module's package and the test helpers importable; begins with what takes long."""

import signal
import sys
import threading
from pathlib import Path

TESTING = Path(__file__).resolve().parent
for folder in (TESTING, TESTING.parent / "S3NetSegment"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

# A shell starts what it runs in the background with Ctrl-C ignored, and what it starts inherits that. Tests of Ctrl-C need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
