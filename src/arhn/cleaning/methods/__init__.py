"""Ways to get decisions from a group: arhn's own, and the rivals it is compared with."""
