"""How far asking only about the likeliest negatives agrees with asking about all of them. Pure; no labels needed."""

from __future__ import annotations

from collections.abc import Sequence

from arhn.cleaning.evidence.calibration import Calibration, TriagePoint
from arhn.cleaning.evidence.confidence import centre_group, find_band, make_confidences, pick_likeliest
from arhn.cleaning.evidence.signals import VERDICT, Signals

#: Shares of a group's negatives to ask about that are tried.
SHARES = tuple(n / 20 for n in range(20, 0, -1))
#: A group's signals, and by what its likeliest negatives are told; None where there is nothing.
Asked = tuple[Signals, Sequence[float | None] | None]


def measure_triage(groups: Sequence[Asked], calibration: Calibration) -> tuple[TriagePoint, ...]:
    """The agreement at every share that is tried; see `TriagePoint`.

    Groups with a broken answer are left out, also by the small model in front: it would make a share look as if it
    agreed further than where nothing breaks. Empty where there is nothing to tell likely negatives by.
    """
    usable = [(s, likely) for s, likely in groups if likely is not None and not _lacks_a_value(s, likely)]
    total = sum(len(likely) for _, likely in usable)
    if not total:
        return ()
    agreed = {share: sum(_count_agreeing(s, likely, calibration, share) for s, likely in usable) for share in SHARES}
    return tuple(TriagePoint(share=share, agreement=round(n / total, 4)) for share, n in agreed.items())


def _lacks_a_value(signals: Signals, likely: Sequence[float | None]) -> bool:
    return None in likely or any(None in values for values in signals.values())


def _count_agreeing(signals: Signals, likely: Sequence[float | None], calibration: Calibration, share: float) -> int:
    """Negatives of a group that are found to answer, or not to, as if all were asked about."""
    asked = pick_likeliest(likely, share)
    own = {name: [values[i] for i in asked] for name, values in signals.items()}
    means = centre_group({**signals, VERDICT: own[VERDICT]}, calibration, size=len(likely))
    some = make_confidences(own, calibration, means=means)
    every = make_confidences(signals, calibration)
    found = {i for i, c in zip(asked, some, strict=True) if _answers(c, calibration)}
    return sum((i in found) == _answers(c, calibration) for i, c in enumerate(every))


def _answers(confidence: float | None, calibration: Calibration) -> bool:
    return confidence is not None and find_band(confidence, calibration) == "answer"


__all__ = ["SHARES", "measure_triage"]
