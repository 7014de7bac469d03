"""Training: cohorts, slices in memory, the trainer and the model file. Knows no method; tasks come from ``methods``."""
