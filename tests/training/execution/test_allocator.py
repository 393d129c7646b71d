from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest
import torch

from fastsketch.training.execution import allocator
from fastsketch.training.execution.allocator import freed_memory_kept

PAGE, BYTES, ROUNDS = 4096, 64 << 20, 8
LARGER = 16 * BYTES
"""More than the heap ever had: a block of BYTES may later find a gap in the heap, and costs no faults there either."""

CHILD = f"""
import json, resource, torch
from contextlib import nullcontext
from fastsketch.training.execution.allocator import freed_memory_kept

def faults(block={BYTES}):
    for _ in range({2 * ROUNDS}):  # until a free block fits, alignment included
        torch.empty(block, dtype=torch.uint8)[:{BYTES}].zero_()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({ROUNDS}):
        torch.empty(block, dtype=torch.uint8)[:{BYTES}].zero_()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1])

found = {{"plain": faults()}}
before = resident()
with freed_memory_kept(torch.device("cpu")):
    found["kept"] = faults()
    found["held"] = resident() - before
found["returned"] = resident() - before
found["again"] = faults({LARGER})
with freed_memory_kept(torch.device("meta")):
    found["elsewhere"] = faults({LARGER})
print(json.dumps(found))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_a_block_that_was_freed_costs_no_faults_when_it_is_wanted_again() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    pages = ROUNDS * BYTES // PAGE
    usual = found["plain"]
    assert usual > ROUNDS  # huge pages make fewer of them
    assert found["kept"] < usual / 20
    assert found["held"] > BYTES // PAGE / 2
    assert found["returned"] < BYTES // PAGE / 20
    assert found["again"] > usual / 2
    assert found["elsewhere"] > usual / 2
    assert usual <= 2 * pages


def test_without_glibc_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", None)
    with freed_memory_kept(torch.device("cpu")):
        pass
