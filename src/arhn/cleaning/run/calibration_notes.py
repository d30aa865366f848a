"""What a run's confidences rest on, in words, from the content of summary.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: What labels would change.
_ADVICE = "Labels for 20 groups would say how right they are: see 'arhn calibrate'"


def describe_calibrations(content: Mapping[str, Any]) -> Iterator[str]:
    """One line for each way in which families were calibrated, the most surprising first."""
    by_source: dict[str, list[str]] = {}
    for family, calibration in content["calibrations"].items():
        stopped = calibration["fitted"].get("stopped")
        source = f"stopped: {stopped}" if stopped else str(calibration.get("source", "none"))
        by_source.setdefault(source, []).append(family)
    for source, families in sorted(by_source.items(), key=lambda item: not item[0].startswith("stopped")):
        named = ", ".join(families)
        if source.startswith("stopped: "):
            yield (
                f"Nothing was changed for {named}: {source.removeprefix('stopped: ')}. That is likelier a model that "
                "can't judge these passages than such data. Use another model, or labels: see 'arhn calibrate'"
            )
        elif source == "auto":
            yield _describe_auto(named, content["calibrations"][families[0]]["fitted"])
        elif source == "none":
            yield (
                f"No calibration for this model{_precision(content)}: {named}; {_instead(content)} "
                "(see 'arhn calibrate')"
            )


def _describe_auto(named: str, fitted: Mapping[str, Any]) -> str:
    trust = (
        ""
        if fitted["trust"] >= 1
        else f" The LLM's verdicts count by how far they go with the similarities: {fitted['trust']:.2f} of 1."
    )
    return (
        f"Confidences for {named} were made without labels, from the first {fitted['groups']} groups "
        f"({fitted['negatives']} negatives): {fitted['rate']:.0%} of the negatives taken for false.{trust} {_ADVICE}"
    )


def _precision(content: Mapping[str, Any]) -> str:
    precision = content["settings"]["precision"]
    return "" if precision is None else f" that reaches precision {precision:g}"


def _instead(content: Mapping[str, Any]) -> str:
    return "the LLM's own word decides" if content["settings"]["precision"] is None else "their labels stay"


__all__ = ["describe_calibrations"]
