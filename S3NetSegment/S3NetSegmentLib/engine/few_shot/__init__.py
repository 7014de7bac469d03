"""The parts of Few-shot; the method itself is ``method``."""
