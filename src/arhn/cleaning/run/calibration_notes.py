"""What a run's confidences rest on, in words, from the content of summary.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from arhn.cleaning.setup import NEED_CALIBRATION
from arhn.texts.foreign import make_line

#: Stands for the families that a line is about.
_NAMES = "\N{BULLET}"
_STOPPED = f"Nothing was changed for {_NAMES}: "
#: What labels would change.
_ADVICE = "A sample of yours would say how right they are: 'arhn review', or 20 labelled groups for 'arhn calibrate'"


def describe_calibrations(content: Mapping[str, Any]) -> Iterator[str]:
    """One line for each way in which families were calibrated, the most surprising first."""
    families: dict[str, list[str]] = {}
    for family, calibration in content["calibrations"].items():
        judged = family not in NEED_CALIBRATION or f"{family} (map)" in content["families"]
        families.setdefault(_describe(calibration, content, judged=judged), []).append(family)
    # Those that were stopped first.
    for line, named in sorted(families.items(), key=lambda item: not item[0].startswith(_STOPPED)):
        yield line.replace(_NAMES, ", ".join(named))


def _describe(calibration: Mapping[str, Any], content: Mapping[str, Any], *, judged: bool) -> str:
    """How one family was calibrated, with `_NAMES` for its name. `judged`: the LLM's own word would be enough."""
    stopped, source = calibration["fitted"].get("stopped"), calibration.get("source", "none")
    if stopped:
        return (
            f"{_STOPPED}{stopped}. That is likelier a model that can't judge these passages than such data. Use "
            "another model, or labels: see 'arhn calibrate'"
        )
    if source == "auto":
        return _describe_auto(calibration["fitted"])
    if source == "none" and not judged:
        return (
            f"Not judged, their labels stay: {_NAMES}. Such queries need a calibration (see 'arhn calibrate'); to have "
            "the LLM's own word decide, choose the family, such as --set 'families.*=paraphrase'"
        )
    if source == "none":
        return (
            f"No calibration for this model{_precision(content)}: {_NAMES}; {_instead(content)} (see 'arhn calibrate')"
        )
    return _describe_labelled(calibration["fitted"])


def _describe_labelled(fitted: Mapping[str, Any]) -> str:
    counts = {"groups": "groups", "false_negatives": "false negatives", "true_negatives": "true negatives"}
    facts = [f"{fitted[key]:,} {what}" for key, what in counts.items() if key in fitted]
    facts += [f"AUC {fitted['auc']:.2f}"] if "auc" in fitted else []
    on = make_line(fitted.get("data", "labels that it doesn't name"), 80)
    shown = f" ({', '.join(facts)})" if facts else ""
    return (
        f"Confidences for {_NAMES} were calibrated on {on}{shown}. That holds here as far as these data are like "
        "those; 'arhn review' measures it on a sample of yours"
    )


def _describe_auto(fitted: Mapping[str, Any]) -> str:
    trust = (
        ""
        if fitted["trust"] >= 1
        else f" The LLM's verdicts count by how far they go with the similarities: {fitted['trust']:.2f} of 1."
    )
    return (
        f"Confidences for {_NAMES} were made without labels, from the first {fitted['groups']} groups "
        f"({fitted['negatives']} negatives): {fitted['rate']:.0%} of the negatives taken for false.{trust} {_ADVICE}"
    )


def _precision(content: Mapping[str, Any]) -> str:
    precision = content["settings"]["precision"]
    return "" if precision is None else f" that reaches precision {precision:g}"


def _instead(content: Mapping[str, Any]) -> str:
    return "the LLM's own word decides" if content["settings"]["precision"] is None else "their labels stay"


__all__ = ["describe_calibrations"]
