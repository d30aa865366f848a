"""Negatives mined and cleaned again while a model trains."""
