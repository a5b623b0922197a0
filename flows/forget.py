"""Forget: remove a page, a domain or a document from the data directory and from Prefect for good.

No Prefect flow does this: a run's parameters would remember it.
"""

from __future__ import annotations

from model.contracts import erasure_marks
from tasks.contracts.errors import SettingsError
from tasks.contracts.paths import Layout
from tasks.contracts.run_record import Listener
from tasks.contracts.settings import Settings
from tasks.derive.rebuild import compare_all
from tasks.forget.erasure import ExternalEraser, Intent, erased, finish, roll_back, scrub, write_intent
from tasks.forget.recovery import ForgettingRecovery
from tasks.forget.request import Request, Result, plan
from tasks.raw.ledger import require_no_unfinished_erasure
from tasks.report.report import write_report
from tasks.run_context import RunContext, open_run


def forget(
    request: Request, settings: Settings, layout: Layout, listener: Listener, external_eraser: ExternalEraser
) -> Result:
    """Forget, or with `dry_run` list what would be removed. First finishes an erasure that a kill interrupted.

    Raises:
        SettingsError: nothing is known of what was asked for.
        DataDirectoryError: a dry run, while an erasure waits to be finished.
        LockHeldError: another run has the data directory.
    """
    unfinished = layout.intent.exists()
    if request.dry_run:
        require_no_unfinished_erasure(layout)
    if not unfinished and not request.has_target and not request.retrain:
        raise SettingsError("forget what? Give --url, --domain or --seq; or --retrain, for what was forgotten before.")
    with open_run(settings, layout, "forget", listener, ForgettingRecovery(external_eraser)) as run:
        if request.dry_run:
            return _preview(run, request, external_eraser)
        # Before the report begins, so that an address of which nothing is known is not written down there.
        intent, result = _compare_and_plan(run, request) if request.has_target else (None, Result())
        with write_report(run.record, layout, run.catalog.counts, lambda markdown: None, picture=True):
            if intent is not None:
                write_intent(layout, intent)
                result.unreached = finish(run, external_eraser)
                for sentence in result.unreached:
                    run.record.say(f"not cleared: {sentence}")
            elif request.retrain:
                roll_back(run, None)
        result.counts = dict(run.record.stages["forget"].counts) if "forget" in run.record.stages else {}
        result.messages = list(run.record.messages)
        return result


def _compare_and_plan(run: RunContext, request: Request) -> tuple[Intent, Result]:
    """Plan after the waiting documents are compared, so that all copies are known."""
    # Where the rules changed, the copies found under the old ones must do: all is derived again anyway.
    if run.catalog.digest_of_rules() in (None, run.derivation.rules):
        run.derivation.apply_rules()
        compare_all(run.derivation, lambda done, of: run.record.progress("compare", done, of))
    return plan(run, request)


def _preview(run: RunContext, request: Request, external_eraser: ExternalEraser) -> Result:
    """The dry run: calls the same functions, which then change nothing."""
    if not request.has_target:
        raise SettingsError("--dry-run needs --url, --domain or --seq.")
    layout = run.layout
    intent, result = plan(run, request)
    report = scrub(run, intent, external_eraser, dry=True)
    known = erasure_marks.mark(layout.checkpoints, layout.models, erased(intent), intent.rules, intent.at, dry=True)
    result.counts = {"documents": len(intent.documents)} | dict(report.counts)
    result.unreached = report.unreached
    if known:
        result.messages.append(f"trained on it or scored with it: {known}")
    if waiting := run.catalog.counts()["waiting"]:
        result.messages.append(f"{waiting} document(s) wait to be compared: whether they are copies is not known yet")
    result.dry_run = True
    return result
