"""What came of many cases, as a table."""

from __future__ import annotations

from collections import Counter

from fuzz.case import Result


def report(results: list[Result]) -> int:
    """Print a table by kind and the failures, those with the same exception and place as one; 1 if there are any."""
    print(f"{'kind':10} {'cases':>6} {'exit 0':>7} {'1':>6} {'2':>6} {'failed':>7} {'traceback':>10} {'hangs':>6} {'peak MB':>8} {'seconds':>8}")
    for kind in [*dict.fromkeys(sorted(result.kind for result in results)), "all"]:
        of = [result for result in results if kind in (result.kind, "all")]
        last = [result.outcomes[-1] for result in of]
        codes = Counter(outcome.code for outcome in last)
        print(
            f"{kind:10} {len(of):6,} {codes[0]:7,} {codes[1]:6,} {codes[2]:6,} {sum(bool(each.problems) for each in of):7,} "
            f"{sum('Traceback' in each.problems for each in of):10,} {sum('hangs' in each.problems for each in of):6,} "
            f"{max(outcome.peak for each in of for outcome in each.outcomes) / 1e6:8,.0f} "
            f"{sum(outcome.seconds for each in of for outcome in each.outcomes):8,.0f}"
        )
    failed: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.problems:
            failed.setdefault((result.kind, result.frame or result.problems[0]), []).append(result)
    for (kind, what), same in sorted(failed.items(), key=lambda item: -len(item[1])):
        print(f"{len(same):5} × {kind} {same[0].seed}: {what}")
    return int(bool(failed))
