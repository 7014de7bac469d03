"""From volumes to what a network sees: the layout of slices, the bank of all of them, batches and their augmentation."""
