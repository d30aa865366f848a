"""How far decisions agree with labels, verdicts or other decisions."""
