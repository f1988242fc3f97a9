"""A command watched from outside: its processes' seconds and memory, and its failures."""

import sys

import pytest

from benchmarks.speed.watch import run

MEBIBYTE = 1 << 20
CHILD = """
import time
held = b'1' * (32 << 20)
while time.process_time() < 0.3:
    sum(range(1000))
time.sleep(0.5)
"""
PARENT = """
import json, os, subprocess, sys
held = b'1' * (64 << 20)
child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE)
print('a line that is no answer')
print(json.dumps({'cpu': 1.5}), flush=True)
if sys.argv[2] == 'wait':
    child.wait()
child.stdout.read()
os._exit(0)
"""


@pytest.mark.parametrize("end", ["wait", "leave"])
def test_seconds_and_memory_of_a_child_count_whether_or_not_its_parent_waits_for_it(
    end: str,
) -> None:
    answer, whole = run([sys.executable, "-c", PARENT, CHILD, end])
    assert answer.number("cpu") == 1.5
    assert whole.cpu >= 0.3
    assert whole.wall >= 0.5
    assert 96 * MEBIBYTE <= whole.peak < 160 * MEBIBYTE


def test_a_command_that_fails_shows_the_end_of_its_errors() -> None:
    with pytest.raises(SystemExit, match=r"(?s)failed:.*ZeroDivisionError"):
        run([sys.executable, "-c", "1 / 0"])
