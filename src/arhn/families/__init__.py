"""Families of queries. A group's family decides by which prompts it is judged."""
