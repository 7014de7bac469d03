"""Training: what is trained on (``cohort``, ``slices``), the loop (``trainer``), the methods (``ideal``, ``alpnet``), and what comes
of it (``model``). ``run`` is a whole training from its task."""
