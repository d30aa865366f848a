"""The records of a run that other people's scripts read: one decision per passage, and the summary.

Both are documented in docs/files.md; fields are added, never renamed or removed.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from arhn import __version__
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence.intervals import wilson
from arhn.cleaning.evidence.signals import POSITIVE, QUERY, SENTENCE
from arhn.cleaning.methods.method import Basis, Recorded, find_method
from arhn.cleaning.models import ModelsRecord
from arhn.cleaning.run.tally import Progress, Tally
from arhn.cleaning.stats import StageStats, Stats
from arhn.types import CleanedGroup, Label

SCHEMA = 1
#: What groups are counted as that are left as they are.
NO_FAMILY = "none"


def make_decision_rows(cleaned: CleanedGroup) -> Iterator[dict[str, Any]]:
    """One record per passage of the group, in the order of `group.passages`."""
    extractions = {e.doc_id: e for e in cleaned.extractions}
    rank = {doc_id: i for i, doc_id in enumerate(cleaned.ranking.order, 1)} if cleaned.ranking else {}
    for passage, label, decision in zip(cleaned.group.passages, _list_labels(cleaned), cleaned.decisions, strict=True):
        extraction = extractions.get(passage.doc_id)
        similarities = cleaned.similarities.get(passage.doc_id, {})
        yield {
            "query_id": cleaned.group.query_id,
            "doc_id": passage.doc_id,
            "label": label,
            "action": decision.action,
            "reason": decision.reason.value,
            "status": extraction.status if extraction else None,
            "snippet": extraction.snippet if extraction else None,
            "start": extraction.start if extraction else None,
            "end": extraction.end if extraction else None,
            "confidence": extraction.confidence if extraction else None,
            "log_odds": extraction.log_odds if extraction else None,
            "rank": rank.get(passage.doc_id),
            "cut": extraction.cut if extraction else False,
            "similarity": similarities.get(QUERY),
            "positive_similarity": similarities.get(POSITIVE),
            "sentence_similarity": similarities.get(SENTENCE),
            "fullness": extraction.fullness if extraction else None,
            "family": cleaned.family or None,
        }


def _list_labels(cleaned: CleanedGroup) -> Iterator[Label]:
    for _ in cleaned.group.positives:
        yield "positive"
    for _ in cleaned.group.negatives:
        yield "negative"


def summarize(
    progress: Progress,
    config: CleanConfig,
    record: ModelsRecord,
    *,
    written: int,
    settings: dict[str, Any],
    whole: Mapping[str, Any] | None = None,
    families: Sequence[Mapping[str, Any]] = (),
    losses: dict[str, int],
    files: dict[str, Any],
) -> dict[str, Any]:
    """The content of summary.json.

    Args:
        written: groups in the output.
        settings: what changes results and isn't in `config`.
        whole: all settings of the command, which can be run again with them.
        families: what the first groups settled about the families of queries.
        losses: what the output's format couldn't hold, counted.
        files: what was read and written.
    """
    tally, stats = progress.tally, progress.stats
    basis = _describe_basis(config, tally, record)
    return {
        "schema": SCHEMA,
        "versions": _list_versions(),
        "files": files,
        **record.names,
        "prompts": basis.prompts,
        "calibrations": basis.calibrations,
        "settings": {**config.model_dump(mode="json", exclude={"calibrations"}), **settings},
        **({"config": dict(whole)} if whole is not None else {}),
        "groups": {
            "read": tally.groups,
            "written": written,
            "dropped": tally.dropped,
            "below_floor": tally.below_floor,
            "doubtful_positive": tally.doubtful,
            "rejected_rows": progress.rejected,
        },
        **{
            label: {what: tally.of(label, what) for what in ("action", "reason", "status")}
            for label in ("positives", "negatives")
        },
        "ranking": dict(sorted(tally.ranking.items())),
        "ranking_agreement": round(tally.agreement / tally.agreed, 4) if tally.agreed else None,
        "families": {f"{family or NO_FAMILY} ({source})": n for (family, source), n in tally.families.most_common()},
        "families_settled": list(families),
        "left_alone": _describe_left_alone(config, tally),
        **_describe_unasked(tally, stats),
        "unused_negatives": tally.unused,
        "cut_passages": tally.cut,
        "left_out": dict(progress.left_out),
        "positives_elsewhere": progress.elsewhere,
        "losses": losses,
        "llm": {name: describe_stage(counts) for name, counts in stats.stages.items()},
        "serving": dict(record.serving),
        "seconds": round(progress.seconds, 3),
    }


def _describe_unasked(tally: Tally, stats: Stats) -> dict[str, Any]:
    """What wasn't asked about, and what was asked in vain."""
    return {**_describe_triage(tally), **_describe_unusable(stats)}


def _describe_unusable(stats: Stats) -> dict[str, Any]:
    """Queries that don't fit, and answers that nothing could be made of with the three most frequent beginnings."""
    most = sorted(stats.unreadable.items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    unreadable = {"answers": sum(stats.unreadable.values()), "examples": dict(most)}
    return {"too_long_queries": len(stats.too_long), "unreadable": unreadable}


def _describe_left_alone(config: CleanConfig, tally: Tally) -> dict[str, Any]:
    return {
        "groups": sum(n for (family, _), n in tally.families.items() if not family),
        "tasks": list(config.families.opened.left_alone) if config.families.opened else [],
    }


def _describe_triage(tally: Tally) -> dict[str, Any]:
    """Where negatives were spared: how many, and how many decisions may differ for it (docs/files.md)."""
    statuses = tally.of("negatives", "status")
    spared = statuses.get("spared", 0)
    if not spared and not tally.checked:
        return {}
    share = spared / sum(statuses.values())
    least, most = wilson(tally.answering, tally.checked)
    agreement = {"low": round(1 - share * most, 4), "high": round(1 - share * least, 4)}
    found = {"spared": spared, "checked": tally.checked, "checked_answering": tally.answering, "agreement": agreement}
    return {"triage": found}


def _describe_basis(config: CleanConfig, tally: Tally, record: ModelsRecord) -> Basis:
    method = find_method(config)
    families = sorted({family for family, _ in tally.families if family})
    return method.describe_basis(config, record, families) if isinstance(method, Recorded) else Basis()


def describe_stage(stats: StageStats) -> dict[str, Any]:
    """One stage's counts, as in summary.json."""
    return {
        "requests": stats.requests,
        "asked": stats.asked,
        "reused": stats.reused,
        "failed": stats.failed,
        "too_long": stats.too_long,
        "prompt_tokens": stats.prompt_tokens,
        "cached_tokens": stats.cached_tokens,
        "completion_tokens": stats.completion_tokens,
        "seconds": round(stats.seconds, 3),
    }


def _list_versions() -> dict[str, str]:
    return {
        "arhn": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("ctranslate2", "xllamacpp")},
    }
