"""Families: the kinds of query. A group's family decides by which prompts it is judged."""
