"""The use "Cohort" of the panel: the patients of a folder, one after another."""
