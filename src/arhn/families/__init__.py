"""Families: which kind of query a group has, and so by which prompts it is judged."""
