"""A trained network in use: its file, where files lie, several as one, and slices larger than its field of view."""
