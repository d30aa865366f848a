"""Texts of others, made fit to be shown: queries, passages, ids and names may hold anything."""
