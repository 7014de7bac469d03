"""The tab Models: training, its progress, and applying a model."""
