"""Supervision: programs that end start again, ever later, and none outlives its supervisor."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from securefl.runs.flower.supervision import Service, Watch, below, started

PATIENT = 20.0
ENVIRONMENT = {"PATH": os.defpath}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def service(script: str, name: str = "a") -> Service:
    return Service(name, ("/bin/sh", "-c", script), ENVIRONMENT)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def until(condition: object) -> None:
    end = time.monotonic() + PATIENT
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def ended(watch: Watch) -> None:
    """Waits for the end of all services, which `look` then sees."""
    for child in watch._running.values():
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


def test_a_program_that_ends_starts_again_each_time_later(tmp_path: Path) -> None:
    clock = Clock()
    watch = Watch([service("echo start; exit 49")], tmp_path, clock)
    starts = []
    while clock.now < 60.0:
        before = len(lines(tmp_path / "a.log"))
        watch.look()
        ended(watch)
        if len(lines(tmp_path / "a.log")) > before:
            starts.append(clock.now)
        clock.now += 0.5
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    # Half a second until its end is seen, then 1, 2, 4, 8 and at most 15.
    assert gaps == [1.5, 2.5, 4.5, 8.5, 15.5, 15.5]


def test_a_long_run_is_forgiven(tmp_path: Path) -> None:
    clock = Clock()
    watch = Watch([service("exit 1")], tmp_path, clock)
    for _ in range(3):
        watch.look()
        ended(watch)
        clock.now += 100.0  # it ran that long
        watch.look()
        assert watch._due["a"] == clock.now + 1.0
        clock.now += 1.0


def test_one_that_runs_is_left_alone_and_all_end_together(tmp_path: Path) -> None:
    services = [
        service(f"echo $$; exec sleep {seconds}", name) for name, seconds in (("a", 60), ("b", 61))
    ]
    supervisor = started(services, tmp_path)
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    until(lambda: all(map(lines, logs)))
    time.sleep(0.5)  # two looks
    pids = [int(line) for log in logs for line in lines(log)]
    assert sorted(pids) == sorted(below(supervisor.pid))
    supervisor.terminate()
    assert supervisor.wait(PATIENT) == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


GRANDCHILD = "(trap '' TERM INT HUP; exec sleep 61) & echo $!; wait"


def test_nothing_that_a_program_started_outlives_its_supervisor(tmp_path: Path) -> None:
    supervisor = started([service(GRANDCHILD)], tmp_path)
    until(lambda: lines(tmp_path / "a.log"))
    grandchild = int(lines(tmp_path / "a.log")[0])
    assert grandchild in below(supervisor.pid)
    supervisor.terminate()
    assert supervisor.wait(PATIENT) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(grandchild, 0)
    assert lines(tmp_path / "supervision.log") == []


def test_an_orphan_of_a_killed_program_is_waited_for(tmp_path: Path) -> None:
    supervisor = started([service("sleep 0.3 & echo $! $$; wait")], tmp_path)
    until(lambda: lines(tmp_path / "a.log"))
    orphan, parent = map(int, lines(tmp_path / "a.log")[0].split())
    os.kill(parent, signal.SIGKILL)
    until(lambda: orphan not in below(supervisor.pid))
    supervisor.terminate()
    assert supervisor.wait(PATIENT) == 0


def test_a_supervisor_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; "
        "from securefl.runs.flower.supervision import Service, started; "
        "service = Service('a', ['/bin/sh', '-c', 'echo $$; exec sleep 62'], {}); "
        "started([service], Path(sys.argv[1])); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    until(lambda: lines(tmp_path / "a.log"))
    pid = int(lines(tmp_path / "a.log")[0])
    parent.kill()
    parent.wait()
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_program_gets_its_environment_and_no_other(tmp_path: Path) -> None:
    watch = Watch([service("env; pwd", "a")], tmp_path)
    watch.look()
    ended(watch)
    said = lines(tmp_path / "a.log")
    assert f"PATH={os.defpath}" in said
    assert not [line for line in said if line.startswith("HOME=")]
    assert said[-1] == str(tmp_path)
    watch.look()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another account")
def test_a_program_can_run_under_another_account(tmp_path: Path) -> None:
    watch = Watch([Service("a", ("/usr/bin/id", "-un"), ENVIRONMENT, "nobody")], tmp_path)
    watch.look()
    ended(watch)
    assert lines(tmp_path / "a.log") == ["nobody"]
    watch.look()
