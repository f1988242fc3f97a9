"""A command watched from outside: its processes' seconds and memory, and its failures."""

import sys

import pytest

from benchmarks.speed.watch import run

# The parent holds 64 MiB, its child 32 MiB and computes until it has used a fifth of a second.
CHILD = """
import time
held = bytearray(b'1' * (32 << 20))
while time.process_time() < 0.3:
    sum(range(1000))
time.sleep(0.5)
"""
PARENT = f"""
import json, subprocess, sys
held = bytearray(b'1' * (64 << 20))
child = subprocess.Popen([sys.executable, '-c', {CHILD!r}])
if sys.argv[1] == 'wait':
    child.wait()
    print('a line that is no answer')
print(json.dumps({{'cpu': 1.5}}))
"""


def test_seconds_and_memory_of_a_child_count() -> None:
    answer, whole = run([sys.executable, "-c", PARENT, "wait"])
    assert answer.number("cpu") == 1.5
    assert whole.cpu >= 0.3
    assert whole.wall >= 0.5
    assert whole.peak >= 96 << 20


def test_a_command_that_fails_shows_the_end_of_its_errors() -> None:
    with pytest.raises(SystemExit, match=r"(?s)failed:.*ZeroDivisionError"):
        run([sys.executable, "-c", "1 / 0"])
