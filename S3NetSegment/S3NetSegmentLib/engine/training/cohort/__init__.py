"""A cohort as a folder on disk: cases, their channels, labels and what the labels mean. No torch here."""
