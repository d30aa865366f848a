"""Labels of passages in rows: grades, whole numbers above 0 for a positive."""

from __future__ import annotations

from typing import Any

from arhn.errors import BadRow
from arhn.files import rows


def require_grade(label: float, field: str) -> None:
    """Raises BadRow: a probability, of which 0.01 would make a positive.

    Args:
        label: a finite number.
        field: where it stands.
    """
    if label != int(label):
        raise BadRow(
            field,
            "a grade, a whole number above 0 for a positive (labels such as a teacher's probabilities say how likely a "
            "passage is one: write 1 where they reach the threshold you trust, else 0)",
            rows.describe_value(label),
        )


def keep_label(known: Any, default: int) -> Any:
    """The label of the source while it still says what the passage is, else 1 for a positive and 0 for a negative.

    Args:
        known: that label, as the source wrote it; None for a passage from elsewhere.
        default: what the passage is.
    """
    if known is None:
        return default
    # Not as a float: a grade may have any number of digits.
    grade = int(known) if isinstance(known, str) else known
    return known if (grade > 0) == (default > 0) else default


__all__ = ["keep_label", "require_grade"]
