"""Refreshes: negatives are mined and cleaned again, between epochs, with the model in training."""
