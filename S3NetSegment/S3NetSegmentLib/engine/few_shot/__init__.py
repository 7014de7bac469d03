"""The parts of Few-shot; the method itself is ``methods.few_shot``."""
