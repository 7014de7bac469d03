"""What a user may ask: one record for each task, the same for the command line, manifests, scripts and the panel.

Standard library only, so that arguments can be read and refused before anything is installed or loaded.
"""
