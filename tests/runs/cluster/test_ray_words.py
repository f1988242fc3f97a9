"""What the engine makes of Ray's words; a stand-in speaks them, so that no cluster is needed."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from securefl.errors import Interrupted, RunFailed
from securefl.runs.cluster.ray import RayCluster
from securefl.runs.cluster.remote import TaskLost


class RayError(Exception):
    pass


class TaskCancelledError(RayError):
    pass


class RayTaskError(RayError):
    pass


def cluster(outcome: BaseException) -> RayCluster:
    """A cluster of which every answer is this exception."""

    def fail(*args: object, **options: object) -> object:
        raise outcome

    errors = SimpleNamespace(
        RayError=RayError, TaskCancelledError=TaskCancelledError, RayTaskError=RayTaskError
    )
    stand_in = SimpleNamespace(
        cluster_resources=lambda: {"CPU": 2.0},
        remote=lambda **options: lambda work: work,
        wait=fail,
        get=fail,
        exceptions=errors,
    )
    return RayCluster(stand_in)


def task() -> Iterator[str]:
    yield "a reference"


def test_ctrl_c_while_ray_waits_is_an_interruption() -> None:
    interrupted = cluster(KeyboardInterrupt())
    with pytest.raises(Interrupted):
        interrupted.speaking([task()], 0.1)
    with pytest.raises(Interrupted):
        interrupted.message(task())


def test_a_task_that_ended_without_an_answer_is_lost() -> None:
    with pytest.raises(TaskLost, match=r"^it ended without an answer$"):
        cluster(RayError()).message(iter(()))


@pytest.mark.parametrize(
    ("outcome", "kind", "words"),
    [
        (TaskCancelledError("10.0.0.7"), TaskLost, "^it was cancelled$"),
        (RayError("10.0.0.7 is gone"), TaskLost, "^RayError$"),
        (
            RayTaskError("Traceback\n  at 10.0.0.7\nModuleNotFoundError: no securefl"),
            RunFailed,
            "cannot run this version of securefl .ModuleNotFoundError: no securefl.:",
        ),
    ],
)
def test_no_word_of_ray_brings_the_name_of_a_machine_into_a_cell(
    outcome: RayError, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        cluster(outcome).message(task())
    assert "10.0.0.7" not in str(caught.value)
