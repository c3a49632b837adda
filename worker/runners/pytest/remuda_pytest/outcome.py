"""Turns the reports of one test into one result message.

Knows pytest's reports and nothing of sockets or queues. A test that simply passed costs one look at
three reports and one formatted string; everything else may take its time.
"""

import os
import re

LARGEST_SECTION = 1 << 20
LARGEST_TEXT = 4 << 20
PHASES = {"setup": 0, "call": 1, "teardown": 2}
PASSED = b'{"type":"result","test":%d,"outcome":"passed","us":[%d,%d,%d]}'


def simply_passed(reports):
    """Three plain reports, nothing printed, nothing recorded."""
    if len(reports) != 3:
        return False
    for report in reports:
        if report.outcome != "passed" or report.sections or report.user_properties:
            return False
        if hasattr(report, "wasxfail") or hasattr(report, "context"):
            return False
    return True


def passed_body(number, reports):
    return PASSED % (
        number,
        reports[0].duration * 1e6,
        reports[1].duration * 1e6,
        reports[2].duration * 1e6,
    )


def result(number, reports, wide, style):
    """The message for any outcome. `style` is pytest's --tb."""
    attempts = _attempts(reports)
    last = attempts[-1] if attempts else []
    main = [report for report in last if not is_subtest(report)]
    subtests = [_subtest(report, style) for report in last if is_subtest(report)]
    outcome, blamed = _judge(main, subtests)
    detail = _detail(main, blamed, outcome, style)
    if subtests and outcome == "failed":
        _name_failed_subtests(detail, subtests)
    if subtests:
        detail["subtests"] = subtests
    if len(attempts) > 1:
        detail["reruns"] = [_one_problem(attempt, style) for attempt in attempts[:-1]]
    message = {"type": "result", "test": number, "outcome": outcome, "us": _durations(main)}
    if wide:
        message["wide"] = wide
    if detail:
        message["detail"] = detail
    return message


def of_collection(number, report, style):
    """The message for a file or class that gave no tests, from the report of its collection."""
    if report.failed:
        message = {"outcome": "errored", "detail": dict(_problem(report, style), when="collect")}
    else:
        detail = {"reason": _reason(report), "when": "collect", "location": _location(report)}
        message = {"outcome": "skipped", "detail": detail}
    return dict(message, type="result", test=number, us=[0, 0, 0])


def is_subtest(report):
    return hasattr(report, "context") and hasattr(type(report), "_from_json") and _describes_subtest(report)


def _describes_subtest(report):
    return hasattr(report, "_sub_test_description") or hasattr(report, "sub_test_description")


def _attempts(reports):
    """pytest-rerunfailures marks the reports of a try that it will repeat with the outcome `rerun`."""
    attempts, current = [], []
    seen_rerun = False
    for report in reports:
        if seen_rerun and report.when == "setup":
            attempts.append(current)
            current, seen_rerun = [], False
        current.append(report)
        seen_rerun = seen_rerun or report.outcome == "rerun"
    attempts.append(current)
    return attempts


def _judge(main, subtests):
    """The outcome of a test and the report to blame for it."""
    outcome, blamed = None, None
    for report in main:
        found = _one_outcome(report)
        if found == "errored" and outcome == "failed":
            continue
        if outcome is None or found in ("failed", "errored") or outcome == "passed":
            outcome, blamed = found, report
    if outcome is None:
        return "errored", None
    if outcome == "passed" and any(subtest["outcome"] == "failed" for subtest in subtests):
        return "failed", blamed
    return outcome, blamed


def _one_outcome(report):
    expected = hasattr(report, "wasxfail")
    if report.outcome == "passed":
        return "xpassed" if expected and report.when == "call" else "passed"
    if report.outcome == "skipped":
        return "xfailed" if expected else "skipped"
    return "failed" if report.when == "call" else "errored"


def _durations(main):
    durations = [0, 0, 0]
    for report in main:
        if report.when in PHASES:
            durations[PHASES[report.when]] = int(getattr(report, "duration", 0) * 1e6)
    return durations


def _detail(main, blamed, outcome, style):
    detail = {}
    if outcome in ("failed", "errored"):
        problems = [_problem(report, style) for report in main if report.outcome in ("failed", "rerun")]
        if problems:
            detail.update(problems[0])
            detail["longrepr"] = _joined(problems)
    elif outcome in ("skipped", "xfailed", "xpassed"):
        detail.update(reason=_reason(blamed), when=blamed.when)
        detail["location"] = _location(blamed)
    sections = _sections(main)
    if sections:
        detail["sections"] = [[title, shortened(text, LARGEST_SECTION)] for title, text in sections]
    properties = main[-1].user_properties if main else []
    if properties:
        detail["properties"] = [[str(name), str(value)] for name, value in properties]
    return detail


def _sections(main):
    """Those of the last report hold what was captured since the set-up; a plugin may have added some to another one."""
    found = []
    for report in main:
        found.extend(section for section in report.sections if section not in found)
    return found


def _name_failed_subtests(detail, subtests):
    """A test that fails only because of its subtests says which, and why."""
    failed = [subtest for subtest in subtests if subtest["outcome"] in ("failed", "errored")]
    own = detail.get("longrepr", "")
    if not failed or (own and not own.startswith("contains ")):
        return
    summary = "contains %d failed subtest%s" % (len(failed), "s" if len(failed) > 1 else "")
    detail["message"] = "%s: %s: %s" % (summary, failed[0]["name"], failed[0]["message"])
    texts = ["%s\n%s" % (subtest["name"], subtest["longrepr"]) for subtest in failed if subtest["longrepr"]]
    detail.update(longrepr=shortened("\n\n".join(texts), LARGEST_TEXT), when="call")


def _joined(problems):
    """A test may fail and then fail again in its teardown: both are told."""
    if len(problems) == 1:
        return problems[0]["longrepr"]
    parts = ["[%s]\n%s" % (problem["when"], problem["longrepr"]) for problem in problems]
    return "\n\n".join(parts)


def _one_problem(attempt, style):
    for report in attempt:
        if report.outcome in ("failed", "rerun"):
            return _problem(report, style)
    return {"message": "", "longrepr": ""}


def _problem(report, style):
    return {
        "message": _message(report),
        "longrepr": _text(report, style),
        "when": getattr(report, "when", None),
        "location": _location(report),
    }


def _crash(report):
    return getattr(report.longrepr, "reprcrash", None)


def _message(report):
    """One line: what the short summary of pytest shows after the dash."""
    crash = _crash(report)
    text = crash.message if crash is not None else getattr(report, "longreprtext", "")
    lines = text.strip().splitlines()
    if not lines:
        return ""
    # The last line of a traceback is marked as the error.
    line = lines[0] if crash is not None else re.sub("^E {1,3}", "", lines[-1])
    return shortened(line, 4096)


def _text(report, style):
    if style == "no":
        return ""
    crash = _crash(report)
    if style == "line" and crash is not None:
        return "%s:%s: %s" % (crash.path, crash.lineno, crash.message.partition("\n")[0])
    return shortened(getattr(report, "longreprtext", str(report.longrepr)), LARGEST_TEXT)


def _location(report):
    crash = _crash(report)
    if crash is not None:
        return {"file": str(crash.path), "line": crash.lineno}
    if isinstance(report.longrepr, tuple) and len(report.longrepr) == 3:
        return {"file": str(report.longrepr[0]), "line": report.longrepr[1]}
    file, line = report.location[:2]
    return {"file": os.fspath(file), "line": (line or 0) + 1}


def _reason(report):
    expected = getattr(report, "wasxfail", None)
    if expected is not None:
        return expected[len("reason: ") :] if expected.startswith("reason: ") else expected
    if isinstance(report.longrepr, tuple) and len(report.longrepr) == 3:
        reason = report.longrepr[2]
        return reason[len("Skipped: ") :] if reason.startswith("Skipped: ") else reason
    return str(report.longrepr or "")


def _subtest(report, style):
    describe = getattr(report, "_sub_test_description", None) or report.sub_test_description
    outcome = _one_outcome(report)
    found = {"name": describe(), "outcome": outcome}
    if outcome in ("failed", "errored"):
        found.update(message=_message(report), longrepr=_text(report, style))
    elif outcome != "passed":
        found["message"] = _reason(report)
    return found


def shortened(text, largest):
    """The head and the tail of a text that is too long, saying how much is missing."""
    if len(text) <= largest:
        return text
    head, tail = largest // 4, largest - largest // 4
    left_out = len(text) - head - tail
    return "%s\n[... %d characters left out ...]\n%s" % (text[:head], left_out, text[-tail:])
