"""How often the intervals of `arhn review` hold the truth: reviews of invented sets whose truth is known.

    python -m bench.coverage [--times 1000]

Each scenario is a set of strata with true shares; a stratified sample without replacement is drawn from it so many
times, and each time the precision, the misses and the recall are estimated. 95% intervals should hold 93 to 97 in 100.
"""

from __future__ import annotations

import argparse
import random
from statistics import fmean

from arhn.cleaning.evidence.intervals import wilson
from arhn.review.estimates import FALSE, Stratum, estimate_recall, estimate_share
from arhn.review.sampling import share_out

#: (action, size, true share of passages that answer fully) of each stratum.
SCENARIOS: dict[str, list[tuple[str, int, float]]] = {
    "a good run": [("relabel", 300, 0.9), ("relabel", 200, 0.75), ("filter", 900, 0.85), ("filter", 600, 0.6),
                   ("keep", 9000, 0.02), ("keep", 3000, 0.2)],
    "a poor run": [("relabel", 500, 0.5), ("filter", 800, 0.4), ("keep", 5000, 0.1), ("keep", 1500, 0.35)],
    "few changes": [("relabel", 40, 0.8), ("filter", 60, 0.7), ("keep", 4000, 0.05), ("keep", 400, 0.3)],
    "large": [("relabel", 20_000, 0.85), ("filter", 60_000, 0.7), ("filter", 20_000, 0.5), ("keep", 500_000, 0.03),
              ("keep", 100_000, 0.25)],
}  # fmt: skip
SAMPLES = (60, 100, 200, 400)


def review(strata: list[tuple[str, int, float]], sample: int, rng: random.Random) -> list[Stratum]:
    """The answers of one review."""
    sizes = {str(i): size for i, (_, size, _) in enumerate(strata)}
    drawn = share_out(sizes, {str(i): action for i, (action, _, _) in enumerate(strata)}, sample)
    found = []
    for i, (action, size, share) in enumerate(strata):
        false, n = round(size * share), drawn[str(i)]
        hits = sum(rng.sample([1] * false + [0] * (size - false), n)) if size < 50_000 else rng_binomial(rng, n, share)
        found.append(Stratum(name=str(i), action=action, size=size, answers={"fully": hits, "no": n - hits}))
    return found


def rng_binomial(rng: random.Random, n: int, share: float) -> int:
    """As good as a draw without replacement where the stratum is large."""
    return sum(rng.random() < share for _ in range(n))


def truth(strata: list[tuple[str, int, float]]) -> tuple[float, float, float]:
    """True precision, misses among what is kept, and recall."""
    found = [(n, round(n * p)) for a, n, p in strata if a != "keep"]
    kept = [(n, round(n * p)) for a, n, p in strata if a == "keep"]
    hits, misses = sum(h for _, h in found), sum(h for _, h in kept)
    return hits / sum(n for n, _ in found), misses / sum(n for n, _ in kept), hits / (hits + misses)


def simulate(
    strata: list[tuple[str, int, float]], sample: int, times: int, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """By what is estimated: (share of intervals that hold the truth, mean of the estimates minus the truth)."""
    rng = random.Random(seed)
    true = truth(strata)
    held: dict[str, list[bool]] = {"precision": [], "misses": [], "recall": []}
    errors: dict[str, list[float]] = {name: [] for name in held}
    for _ in range(times):
        answers = review(strata, sample, rng)
        estimates = (
            estimate_share((s for s in answers if s.action != "keep"), FALSE),
            estimate_share((s for s in answers if s.action == "keep"), FALSE),
            estimate_recall(answers),
        )
        for name, estimate, value in zip(held, estimates, true, strict=True):
            if estimate is not None:
                held[name].append(estimate.low <= value <= estimate.high)
                errors[name].append(estimate.value - value)
    return {name: (fmean(held[name]), fmean(errors[name])) for name in held}


def simulate_wilson(n: int, share: float, times: int, seed: int = 0) -> float:
    """How often Wilson's interval of one share holds."""
    rng = random.Random(seed)
    held = 0
    for _ in range(times):
        low, high = wilson(rng_binomial(rng, n, share), n)
        held += low <= share <= high
    return held / times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1000)
    times = parser.parse_args().times
    for name, strata in SCENARIOS.items():
        for sample in SAMPLES:
            found = simulate(strata, sample, times)
            cells = ", ".join(f"{what} held {held:.1%}, off by {error:+.4f}" for what, (held, error) in found.items())
            print(f"{name}, {sample} answers: {cells}", flush=True)
    shares = [(n, p / 20) for n in SAMPLES for p in range(1, 20)]
    print(f"Wilson, mean over {len(shares)} shares: {fmean(simulate_wilson(n, p, times) for n, p in shares):.1%}")


if __name__ == "__main__":
    main()
