"""Answers of the engine in the scene: previews, what was accepted, what belongs to which volume, how it was made."""
