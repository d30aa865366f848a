"""A person checks a sample of a run's decisions on a local page, and is told how far they can be trusted."""
