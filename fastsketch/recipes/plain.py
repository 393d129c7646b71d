"""YAML as far as settings need it: mappings, lists and plain values, and nothing that grows or acts when it is read."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.nodes import Node

from fastsketch.errors import one_line

LONGEST = 1 << 16
"""Bytes of a file: ours have 4,000 at most, and PyYAML reads some 100 kB a second."""

DEEPEST = 16
"""Levels of nesting; a recipe has three."""


def parse(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ValueError: It is no YAML or more than plain YAML, in one line.
    """
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} letters")
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        line = f" in line {where.line + 1}" if where else ""
        raise ValueError(f"{one_line(error.problem or error.context or 'unreadable', 80)}{line}") from error
    except (yaml.YAMLError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        # `2024-99-99` is a date to PyYAML, `0x` a number, a thousand brackets too deep before anybody counts them.
        raise ValueError(one_line((str(error) or type(error).__name__).splitlines()[0], 80)) from error


class _Loader(yaml.SafeLoader):
    _depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _refused(event, "anchors and aliases are not for settings")
        if getattr(event, "tag", None):
            raise _refused(event, "tags are not for settings")
        if self._depth >= DEEPEST:
            raise _refused(event, "nested too deeply")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _refused(where: yaml.Event | Node, reason: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=where.start_mark)  # type: ignore[arg-type]


def _no_date(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    raise _refused(node, "a date: put it between quotes")


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _no_date)
