"""Evaluation of retrievers: runs, measures, the BEIR sets, and comparisons of several models.

Nothing is imported here: what needs NumPy, mteb or matplotlib is brought by extras.
"""
