"""A small data set of invented groups with gold labels, and a look at what cleaning makes of it."""
