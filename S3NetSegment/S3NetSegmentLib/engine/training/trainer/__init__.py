"""The loop that trains any task: steps and precision, processes, the folder of a run, learning curves. Knows no method."""
