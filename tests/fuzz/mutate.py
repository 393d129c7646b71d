"""Ways to damage bytes, JSON and names; all that is random comes from the `Random` that is handed in."""

from __future__ import annotations

import copy
import struct
from random import Random
from typing import Any

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 7, 255, 256, 2**31, 2**63, -(2**63) - 1, 10**25, 10**12, 0.5, -0.0, 1e-300,
    1e308, float("nan"), float("inf"), float("-inf"), "", "x", "0", "1", "-1", "nan", "train", "../../ESCAPED",
    "/ESCAPED", "a/b", "..", ".", "\ud800", "\x00", "é\u202e", "\n", "a" * 5000, "$x_{$", "[bold]", [], {}, [[]],
    [{}], [0], [-1], [10**12], ["x"], [None], {"a": 1}, {"": {}}, [1, 2, 3], "pickle",
]  # fmt: skip
"""Values of every type and size that JSON and YAML can say."""

NAMES = [
    "$x_{$", r"$\frac{1}{0$", "[bold]x[/]", "[/]", "[red]", "-rf", "--out", "a b", " lead", "trail ", "a\nb", "a\rb",
    "a\tb", "\x1b[31mred", "\x07", "é", "e\u0301", "\u202etxt", "猫", "😀", "a" * 200, "猫" * 80, "CON", "nul",
    "aux.txt", "...", "..x", "~", "#", "%s%d", "{0}", "a:b", "a;b", "a,b", '"q"', "'q'", "\\", "a\\b", "*", "?",
    "a&b", "`id`", "$(id)", "\udce9", "\udcff\udcfe", "con\udce9", "train", "val", "test", "dataset.json", ".hidden",
    "x.png", "x.partial", "0", "None", "null", "true", "\u2028", "\u0085", "\x7f", "\u200b", "\ufeff", "\u00a0", "_",
    "__init__", "^x", "\\alpha", "$", "$$", "$\\", "a$b$c", "\\n", "<b>", "=1+1",
]  # fmt: skip
"""Names of files and classes that a file system allows and a program may stumble over."""


def damaged(rng: Random, data: bytes) -> bytes:
    """Other bytes: some flipped, a stretch lost, doubled, moved or overwritten, a number made extreme."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        if not changed:
            break
        # Not randrange, which draws as often as the length wants it: a run's files differ by the seconds in them.
        start = int(rng.random() * (len(changed) if rng.random() < 0.6 else min(len(changed), 64)))  # headers decide
        length = rng.choice((1, 2, 4, 8, 100, 1000))
        way = rng.randrange(7)
        if way <= 1:
            changed[start] ^= 1 << rng.randrange(8)
        elif way == 2:
            del changed[start:]
        elif way == 3:
            del changed[start : start + length]
        elif way == 4:
            changed[start:start] = changed[start : start + length]
        elif way == 5:
            changed[start : start + length] = rng.randbytes(min(length, len(changed) - start))
        else:
            number = struct.pack(rng.choice("<>") + "I", rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 0x01000000)))
            changed[start : start + 4] = number[: len(changed) - start]
    return bytes(changed)


def odd(rng: Random) -> Any:
    """A value that nobody expects."""
    return copy.deepcopy(rng.choice(ODD))


def mutated(rng: Random, value: Any, times: int | None = None) -> Any:
    """A copy of JSON-like data in which one node or a few are replaced, deleted, doubled or renamed."""
    value = copy.deepcopy(value)
    for _ in range(times or rng.choice((1, 1, 1, 2, 4))):
        holders = [holder for holder in _holders(value) if len(holder)]
        if not holders:
            return odd(rng)
        holder = rng.choice(holders)
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        way = rng.randrange(8)
        if way <= 3:
            holder[key] = odd(rng)
        elif way == 4:
            del holder[key]
        elif way == 5 and isinstance(holder, list):
            holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
        elif way == 5:
            holder[rng.choice(["x", "../x", "", "\ud800", "$x_{$", "train", "val+val"])] = holder.pop(key)
        elif way == 6:
            holder[key] = near(rng, holder[key])
        else:  # a subtree where another belongs
            holder[key] = (
                copy.deepcopy(rng.choice(holders)) if not isinstance(holder[key], dict | list) else str(holder[key])
            )
    return value


def near(rng: Random, value: Any) -> Any:
    """A value of the same type that is a little off."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, -value, value * 2, str(value), float(value), value + 0.5))
    if isinstance(value, float):
        return rng.choice((-value, value * 1e30, value + 1, str(value), round(value, 1)))
    if isinstance(value, str):
        return rng.choice(
            (value + "x", value[:-1], value.upper(), value + "/", "../" + value, value + "\x00", f" {value}")
        )
    if isinstance(value, list):
        return rng.choice((value * 2, value[:-1], value[::-1], [value], dict.fromkeys(map(str, range(len(value))))))
    if isinstance(value, dict):
        return rng.choice(([value], list(value), {}, {**value, "x": 1}))
    return odd(rng)


def _holders(value: Any) -> list[Any]:
    """All mappings and lists in JSON-like data."""
    if not isinstance(value, dict | list):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [value, *(holder for each in inner for holder in _holders(each))]
