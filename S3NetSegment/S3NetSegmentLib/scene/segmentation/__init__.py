"""Segmentation nodes: reading segments, and every change of one as one undoable step."""
