"""Cleaning: from groups to decisions. Read in this order: pipeline, extract, rank, relabel, run."""
