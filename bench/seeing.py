"""How long looking at a large run takes, and how much memory: `arhn diff`, `report`, `review`.

    python -m bench.seeing [--groups 100000] [--folder bench/out/seeing]

Writes a run of so many groups with seven negatives each as `arhn clean` would (invented texts of 60 words and
confidences), and runs each command in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WORDS = [f"word{i}" for i in range(5000)]
REASONS = {
    "ranked_above": ("relabel", "answer", 0.02),
    "ranked_below": ("filter", "answer", 0.08),
    "uncertain": ("keep", "uncertain", 0.2),
    "no_answer": ("keep", "no_answer", 0.69),
    "extraction_unknown": ("keep", "unknown", 0.01),
}


def write_run(folder: Path, groups: int, negatives: int = 7) -> Path:
    """Write the input, decisions and summary of a run; the path of its output, which stays empty."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    counts: dict[str, dict[str, int]] = {"action": {}, "reason": {}, "status": {}}
    places = {name: folder / f"{name}.jsonl" for name in ("train", "big", "big.decisions")}
    places["big"].write_text("")
    texts = [" ".join(rng.choices(WORDS, k=60)) for _ in range(5000)]
    with places["train"].open("w") as train, places["big.decisions"].open("w") as decisions:
        for g in range(groups):
            row, lines = make_group(g, negatives, texts, rng)
            train.write(json.dumps(row) + "\n")
            for line in lines:
                decisions.write(json.dumps(line) + "\n")
                if line["label"] == "negative":
                    for what in counts:
                        counts[what][line[what]] = counts[what].get(line[what], 0) + 1
    summary = make_summary(places, groups, counts)
    (folder / "big.summary.json").write_text(json.dumps(summary))
    return places["big"]


def make_group(g: int, negatives: int, texts: list[str], rng: random.Random) -> tuple[dict[str, Any], list[Any]]:
    """One row of the input, and the decisions on it."""
    ids = [f"q{g}-p", *(f"q{g}-n{i}" for i in range(negatives))]
    passages = [{"docid": i, "title": "", "text": f"{rng.choice(texts)} {i}"} for i in ids]
    row = {
        "query_id": f"q{g}",
        "query": f"what is {rng.choice(WORDS)} of {rng.choice(WORDS)}?",
        "positive_passages": passages[:1],
        "negative_passages": passages[1:],
        "subset": f"set{g % 9}",
    }
    lines = []
    for i, passage in enumerate(passages):
        label = "negative" if i else "positive"
        reason = rng.choices(list(REASONS), [share for *_, share in REASONS.values()])[0] if i else "positive"
        action, status, _ = REASONS.get(reason, ("keep", "answer", 0))
        confidence = {"answer": rng.uniform(0.6, 1), "uncertain": rng.uniform(0.3, 0.6)}.get(status, rng.random() * 0.3)
        snippet = passage["text"][:30] if status == "answer" else None
        lines.append(
            {
                "query_id": f"q{g}",
                "doc_id": passage["docid"],
                "label": label,
                "action": action,
                "reason": reason,
                "status": status,
                "snippet": snippet,
                "start": 0 if snippet else None,
                "end": 30 if snippet else None,
                "confidence": None if status == "unknown" else round(confidence, 4),
                "log_odds": None if status == "unknown" else round(confidence * 10 - 5, 3),
                "rank": 1 + i if snippet else None,
                "cut": False,
                "similarity": round(confidence * 0.5 + rng.random() * 0.4, 4) if i else None,
                "fullness": None,
                "family": "question",
            }
        )
    return row, lines


def make_summary(places: dict[str, Path], groups: int, counts: dict[str, dict[str, int]]) -> dict[str, Any]:
    """A summary as a run writes it."""
    calibration = {"calibrated": True, "threshold": 0.6, "lower": 0.3, "model": "sha256:0", "doubtful": 0.0,
                   "fitted": {"data": "labels.jsonl", "groups": 100, "false_negatives": 90, "true_negatives": 600,
                              "auc": 0.91, "when": "2026-11-20"}}  # fmt: skip
    stage = {"requests": groups * 8, "asked": groups * 8, "reused": 0, "failed": 0, "too_long": 0,
             "prompt_tokens": groups * 2000, "cached_tokens": groups * 900, "completion_tokens": groups * 20,
             "seconds": 5000.0}  # fmt: skip
    return {
        "schema": 1,
        "versions": {"arhn": "0", "python": "3", "xllamacpp": "0"},
        "files": {
            "input": str(places["train"].resolve()),
            "input_format": "tevatron",
            "split": None,
            "output": str(places["big"].resolve()),
            "output_format": "tevatron",
            "decisions": str(places["big.decisions"].resolve()),
            "rejects": None,
            "failures": None,
            "store": None,
        },
        "model": "invented",
        "prompts": {},
        "calibrations": {"question": calibration},
        "settings": {"method": "arhn", "mode": "R+F", "precision": None, "floor": 1},
        "groups": {"read": groups, "written": groups, "dropped": 0, "below_floor": 0, "doubtful_positive": 0,
                   "rejected_rows": 0},
        "positives": {"action": {"keep": groups}, "reason": {"positive": groups}, "status": {"answer": groups}},
        "negatives": counts,
        "ranking": {"ok": groups},
        "ranking_agreement": None,
        "families": {"question (guessed)": groups},
        "unused_negatives": 0,
        "cut_passages": 0,
        "losses": {},
        "llm": {"extract": stage},
        "serving": {},
        "seconds": 5000.0,
    }  # fmt: skip


def measure(*argv: str) -> tuple[float, float]:
    """Seconds and the most memory (MB) of a command."""
    code = (
        "import resource, sys; from arhn.cli import main; c = main(sys.argv[1:]); "
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr); sys.exit(c)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, float(done.stderr.rsplit("peak", 1)[1])


def main() -> None:
    """Write the run unless it is there, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=Path("bench/out/seeing"))
    given = parser.parse_args()
    output = given.folder / "big.jsonl"
    if not (given.folder / "big.summary.json").exists():
        write_run(given.folder, given.groups)
    report = given.folder / "report.html"
    for argv in (
        ("diff", str(output)),
        ("diff", str(output), "--reason", "ranked_above", "--sample", "20", "--seed", "1"),
        ("report", str(output), "-o", str(report), "--overwrite"),
    ):
        seconds, memory = measure(*argv)
        size = f", {report.stat().st_size / 1e6:.1f} MB of HTML" if argv[0] == "report" else ""
        print(f"arhn {' '.join(argv)}: {seconds:.1f} s, {memory:.0f} MB of memory{size}", flush=True)
    print(f"of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    main()
