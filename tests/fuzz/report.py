"""What came of many cases, as a table."""

from __future__ import annotations

from collections import Counter

from fuzz.case import Result

ROW = "{:10} {:>6} {:>7} {:>6} {:>6} {:>7} {:>10} {:>6} {:>8} {:>8}"


def report(results: list[Result]) -> int:
    """Print a table by kind and the failures, those with the same exception and place as one; 1 if there are any."""
    print(ROW.format("kind", "cases", "exit 0", "1", "2", "failed", "traceback", "hangs", "peak MB", "seconds"))
    for kind in [*sorted({result.kind for result in results}), "all"]:
        of = [result for result in results if kind in (result.kind, "all")]
        outcomes = [outcome for result in of for outcome in result.outcomes]
        codes = Counter(result.outcomes[-1].code for result in of)
        told = (
            len(of),
            codes[0],
            codes[1],
            codes[2],
            sum(bool(result.problems) for result in of),
            sum(bool(result.frame) for result in of),
            sum(outcome.timed_out for outcome in outcomes),
            round(max(outcome.peak for outcome in outcomes) / 1e6),
            round(sum(outcome.seconds for outcome in outcomes)),
        )
        print(ROW.format(kind, *(f"{number:,}" for number in told)))
    failures: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.problems:
            failures.setdefault((result.kind, result.frame or result.problems[0]), []).append(result)
    for (kind, what), same in sorted(failures.items(), key=lambda item: -len(item[1])):
        print(f"{len(same):5} × {kind} {same[0].seed}: {what}")
    return int(bool(failures))
