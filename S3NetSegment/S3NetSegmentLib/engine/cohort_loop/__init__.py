"""The loop through a cohort: a folder of images, of which one case after another is proposed, corrected and accepted.

Everything that is known lies in the folder itself, as files that are written whole or not at all.
"""
