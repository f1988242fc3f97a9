"""The simulated clock: who is in time in a round, and how long it takes."""

from hypothesis import given
from hypothesis import strategies as st

from securefl.federation.clock import Clock, Timing, timing


def test_the_first_that_are_ready_are_taken_and_the_round_ends_with_the_last_of_them() -> None:
    # By hand: ready are 2 at 1, then 0 and 3 at 4, where the lower number goes first, then 1.
    got = timing({0: 4, 1: 9, 2: 1, 3: 4}, size=2, deadline=None)
    reason = "discarded: 2 updates had come before its own (simulated)"
    assert got == Timing({1: reason, 3: reason}, lasts=4)


def test_too_few_in_time_let_the_round_last_until_its_deadline() -> None:
    got = timing({0: 4, 1: 9, 2: 1}, size=3, deadline=6)
    reason = "discarded: it came after the deadline of 6 (simulated)"
    assert got == Timing({1: reason}, lasts=6)


def test_a_round_that_has_its_updates_does_not_wait_for_the_deadline() -> None:
    got = timing({0: 4, 1: 9, 2: 1, 3: 6}, size=2, deadline=6)
    assert got.lasts == 4
    assert got.late == {
        1: "discarded: it came after the deadline of 6 (simulated)",
        3: "discarded: 2 updates had come before its own (simulated)",
    }


def test_who_is_ready_at_the_deadline_is_in_time() -> None:
    assert timing({0: 6, 1: 7}, size=2, deadline=6).late.keys() == {1}


def test_nobody_to_wait_for_takes_no_time_without_a_deadline() -> None:
    assert timing({}, size=2, deadline=None) == Timing({}, 0)
    assert timing({}, size=2, deadline=5) == Timing({}, 5)


@given(
    times=st.dictionaries(st.integers(0, 20), st.integers(1, 9)),
    size=st.integers(1, 9),
    deadline=st.none() | st.integers(1, 9),
)
def test_it_is_what_a_server_does_that_looks_at_every_tick(
    times: dict[int, int], size: int, deadline: int | None
) -> None:
    taken: list[int] = []
    ticks = max([*times.values(), 0]) if deadline is None else deadline
    now = 0
    while now < ticks and len(taken) < size:
        now += 1
        came = sorted(client for client, time in times.items() if time == now)
        taken += came[: size - len(taken)]
    got = timing(times, size=size, deadline=deadline)
    assert set(times) - set(got.late) == set(taken)
    assert got.lasts == now


def test_the_clock_adds_up_rounds_and_gives_the_same_in_any_order() -> None:
    def timing_of(round: int) -> Timing:
        return Timing({round: "late"}, 10**round)

    clock = Clock(timing_of)
    assert [clock.end_of(round) for round in (3, 0, 2, 1)] == [1111, 1, 111, 11]
    assert [clock.late_in(round) for round in (2, 2, 0)] == [{2: "late"}, {2: "late"}, {0: "late"}]
    assert Clock(timing_of).end_of(2) == 111


def test_the_clock_is_exact_beyond_the_whole_numbers_of_floats() -> None:
    clock = Clock(lambda round: Timing({}, 2**60 + 1))
    assert clock.end_of(1) == 2**61 + 2
