"""`arhn review` from a run to answers: the plan, the page, and what comes out."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from arhn.cleaning.run.files import Files
from arhn.cleaning.run.finished import FinishedRun, open_run
from arhn.errors import DataError, UsageError
from arhn.files.apart import require_apart
from arhn.files.names import strip_suffixes
from arhn.report.gathering import find_thresholds
from arhn.review.findings import Outcome
from arhn.review.journal import Journal, open_journal, read_plans
from arhn.review.sampling import Item, Plan, draw_plan, pick_uncertain
from arhn.review.server import HOST, make_app, make_token
from arhn.review.session import Session, find_shown, require_same_texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What to review and how. `file` and `guideline` are beside the output unless given.

    `sample`: passages to ask about. `active`: the least certain ones rather than a random sample. `answers`: how many
    each passage should get. `port`: 0 for any that is free.
    """

    output: str
    file: Path | None = None
    guideline: Path | None = None
    sample: int = 100
    seed: int = 0
    active: bool = False
    answers: int = 1
    precision: float = 0.9
    port: int = 0

    @property
    def place(self) -> Path:
        """Where the answers go. Raises as `Files.beside`."""
        return self.file or self._beside("review.jsonl")

    @property
    def guideline_place(self) -> Path:
        """Where the team's guideline is. Raises as `Files.beside`."""
        return self.guideline or self._beside("guideline.md")

    def _beside(self, suffix: str) -> Path:
        summary = Files.beside(self.output).summary
        return summary.with_name(f"{strip_suffixes(Path(self.output).name)}.{suffix}")


@contextmanager
def open_session(review: Review) -> Iterator[Session]:
    """The review, ready to be answered: begun, or gone on with. A larger sample than before takes more passages in.

    Raises:
        OutputLocked: another process has it open.
        DataError: a review of another run, an edited or damaged one, an input that has changed.
        ArhnError: see `FinishedRun.join`.
    """
    run = open_run(review.output, "review")
    require_apart(run.inputs, {"--file": review.place, "--guideline": review.guideline_place})
    with open_journal(review.place, run) as journal:
        items, strata, texts = read_plans(journal.reviewed)
        if _wants_more(journal, items, review):
            plan = _make_plan(run, review)
            _add_plan(journal, run, plan, {(i.query_id, i.doc_id) for i in items})
            items, strata, texts = read_plans(journal.reviewed)
        if not items:
            raise DataError("the run has no negative that a person could be asked about", path=str(run.decisions))
        shown = find_shown(run, items)
        require_same_texts(items, shown, texts, str(review.place))
        yield Session(journal, items, strata, shown, wanted=review.answers, precision=review.precision)


def _wants_more(journal: Journal, items: list[Item], review: Review) -> bool:
    if not journal.reviewed.plans:
        return True
    before = [bool(plan["strata"]) for plan in journal.reviewed.plans]
    seeds = {plan["seed"] for plan in journal.reviewed.plans}
    if review.active == any(before):
        kinds = ("a random sample", "the least certain passages")
        raise UsageError(
            f"{review.place}: this review has {kinds[not any(before)]}, and {kinds[review.active]} can't be mixed in. "
            "Name another file with --file"
        )
    if not review.active and seeds != {review.seed}:
        known = journal.reviewed.plans[0]["seed"]
        raise UsageError(f"--seed {review.seed}: this review was drawn with {known}. Give that, or another --file")
    return len(items) < review.sample


def _make_plan(run: FinishedRun, review: Review) -> Plan:
    if review.active:
        return pick_uncertain(run, review.sample, find_thresholds(run.summary))
    return draw_plan(run, review.sample, review.seed)


def _add_plan(journal: Journal, run: FinishedRun, plan: Plan, known: set[tuple[str, str]]) -> None:
    items = tuple(item for item in plan.items if (item.query_id, item.doc_id) not in known)
    if items:
        texts = {ids: shown.text for ids, shown in find_shown(run, list(items)).items()}
        journal.add_plan(Plan(items=items, strata=plan.strata, seed=plan.seed), texts)


def serve(review: Review, session: Session, started: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        started: is called with the page's address.

    Raises:
        UsageError: the port is in use, or can't be had.
    """
    token = make_token()
    asyncio.run(_serve(review, make_app(session, token, review.guideline_place), token, started))


async def _serve(review: Review, app: web.Application, token: str, started: Callable[[str], None]) -> None:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, review.port)
        try:
            await site.start()
        except OSError as error:
            raise UsageError(_explain_port(review.port, error)) from error
        port = runner.addresses[0][1]
        started(f"http://{HOST}:{port}/{token}/")
        await _wait_for_end()
    finally:
        await runner.cleanup()


async def _wait_for_end() -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    await over.wait()


def _explain_port(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {port}: another program uses it. Leave --port out, and a free one is taken"
    return f"--port {port}: can't be had ({error.strerror or error}). Leave --port out, and a free one is taken"


def read_outcome(review: Review) -> Outcome:
    """What a review has found by now, without a page. Raises as `open_session`."""
    with open_session(review) as session:
        return session.find_outcome()
