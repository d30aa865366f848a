"""Evaluation of one retriever: its runs on test collections, and their measures. `arhn.compare` compares several.

This file imports nothing, because NumPy and mteb come with extras.
"""
