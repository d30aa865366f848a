"""Several retrievers compared: paired significance, intervals, plot."""
