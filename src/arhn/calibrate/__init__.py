"""Calibrations fitted on labelled groups."""
