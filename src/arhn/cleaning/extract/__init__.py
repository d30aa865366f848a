"""Stage 1, extraction: a verdict on each passage, and a snippet where it answers."""
