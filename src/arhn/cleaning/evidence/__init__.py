"""What a confidence is made of: centring within the group, and calibrations."""
