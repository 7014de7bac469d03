"""What was drawn: on slices and planes, in this volume or another one, in the scene or in files."""
