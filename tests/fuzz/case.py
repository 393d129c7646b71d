"""What a case is, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

GIB = 1 << 30


@dataclass
class Case:
    """Command lines to be run one after the other in a folder that a generator has filled.

    Attributes:
        commands: Arguments of `fastsketch`, each in a process of its own; the first that fails is the last.
        writes: Names in the folder that the commands may write; everything else has to stay as it is.
        codes: Exit codes that are right for the last command that ran.
        libraries: Whether it imports FFCV or DALI, whose libraries map gigabytes that they do not use.
        greedy: Whether it asks for more memory than there may be: a model or a batch of its own choice.
    """

    commands: list[list[str]]
    writes: tuple[str, ...] = ("out",)
    codes: tuple[int, ...] = (0, 1, 2)
    libraries: bool = False
    greedy: bool = False


@dataclass
class Outcome:
    """What one command did.

    Attributes:
        code: Exit code; negative: killed by that signal.
        timed_out: Whether it was killed because it took too long.
        stdout: What it printed.
        stderr: What it said.
        peak: Bytes of memory at most, beyond what the zygote holds.
        seconds: Wall clock.
        trespasses: Files outside the case's folder that it opened for writing, moved or removed.
        report: The traceback that it left in TMPDIR.
    """

    code: int
    timed_out: bool
    stdout: str
    stderr: str
    peak: int
    seconds: float
    trespasses: list[str] = field(default_factory=list)
    report: str = ""


@dataclass
class Result:
    """A case, judged.

    Attributes:
        kind: The generator, or `corpus`.
        seed: Its seed, or the corpus entry's name.
        outcomes: A command each.
        problems: What is wrong, a line each; nothing is as it should be.
        frame: Of a traceback: exception and the last line of the product, to tell failures apart.
    """

    kind: str
    seed: int | str
    outcomes: list[Outcome]
    problems: list[str]
    frame: str = ""
