"""A cleaned data set for others: its card in the hub's format, and its upload. `arhn card`, `arhn push`."""
