"""Whole masked rounds: the sum is exact for every pattern of drop-outs, and nothing else opens.

The oracle adds the encoded updates of the survivors as Python integers.
"""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.protocol import View
from securefl.errors import RoundAbandoned
from securefl.rng import seeded_keystream
from tests.channels.masking.parties import Session, agreement

NEVER = 6  # a client that answers all five stages


def sums_seen(session: Session) -> list[NDArray[np.float64]]:
    """Returns the opened sums that the server saw, one a block."""
    opened = [o for o in session.observed if (o.party, o.kind) == ("server", "sum of updates")]
    return [o.values.numpy() for o in opened if o.values is not None]


def exact_sum(session: Session, survivors: tuple[int, ...]) -> NDArray[np.float64]:
    """Returns the decoded sum of the survivors' words, added as Python integers."""
    terms, total = session.terms, [0] * session.terms.d
    for client in survivors:
        words = np.empty(terms.d, dtype=terms.code.word)
        update = session.updates[client]
        stream = seeded_keystream(0, "rounding", client, session.round)
        terms.code.encode(
            update.delta.numpy(), scale=update.weight / terms.max_weight, stream=stream, out=words
        )
        total = [
            old + int(new)
            for old, new in zip(total, words.view(f"<i{words.itemsize}"), strict=True)
        ]
    assert all(abs(value) < 2 ** (terms.code.ring - 1) for value in total)
    return np.array(total, dtype=np.float64) * terms.code.step


def expected_survivors(terms: Agreement, first_silent: Mapping[int, int]) -> tuple[int, ...] | None:
    """Returns the clients in the sum, by the paper; None if the round must be abandoned."""
    for stage in range(1, 6):
        answering = sum(first > stage for first in first_silent.values())
        if answering < (
            terms.fewest(len(first_silent)) if stage < 4 else terms.threshold(len(first_silent))
        ):
            return None
    return tuple(client for client, first in sorted(first_silent.items()) if first > 3)


def check_pattern(session: Session, round: int, first_silent: Mapping[int, int]) -> bool:
    """Plays one pattern; returns whether a sum opened, after checking that it is exact."""
    survivors = expected_survivors(session.terms, first_silent)
    if survivors is None:
        with pytest.raises(RoundAbandoned, match="a sum takes"):
            session.play(round, silent=first_silent)
        assert not sums_seen(session)
        return False
    view = session.play(round, silent=first_silent)
    assert view.members == (survivors,)
    (opened,) = sums_seen(session)
    assert np.array_equal(opened, exact_sum(session, survivors))
    mean = torch.from_numpy(opened * (session.terms.max_weight / len(survivors))).to(torch.float32)
    assert torch.equal(view.rows, mean.unsqueeze(0))
    return True


def every_pattern(n: int) -> Iterator[tuple[int, ...]]:
    """For each client, the first stage that it does not answer."""
    return product(range(1, NEVER + 1), repeat=n)


def every_pattern_but_orders(n: int) -> Iterator[tuple[int, ...]]:
    """Every pattern that opens a sum; of the others, one order of the clients."""
    terms = agreement(n)
    for firsts in every_pattern(n):
        in_order = firsts == tuple(sorted(firsts))
        if in_order or expected_survivors(terms, dict(enumerate(firsts))) is not None:
            yield firsts


def count_opened(n: int, patterns: Iterator[tuple[int, ...]]) -> int:
    """Plays the patterns, each in a round of its own; returns how many opened a sum."""
    session = Session(agreement(n))
    opened = 0
    for round, firsts in enumerate(patterns):
        opened += check_pattern(session, round, dict(enumerate(firsts)))
    return opened


def test_the_sum_is_exact_for_every_pattern_of_dropouts() -> None:
    # Three clients bear no dropout: the threshold is 3.
    assert count_opened(3, every_pattern(3)) == 1


@pytest.mark.parametrize(("n", "opened"), [(4, 1 + 4 * 5), (5, 1 + 5 * 5)])
def test_the_sum_is_exact_for_every_pattern_of_dropouts_that_opens_one(n: int, opened: int) -> None:
    # Four clients (threshold 3) and five (threshold 4) bear one dropout, at any of five stages.
    assert count_opened(n, every_pattern_but_orders(n)) == opened


@pytest.mark.parametrize("stage", [1, 2, 3, 4, 5])
def test_the_minimum_cohort_counts_updates_and_the_threshold_whoever_answers_later(
    stage: int,
) -> None:
    session = Session(agreement(5, min_cohort=5))  # the threshold is 4
    assert check_pattern(session, 0, {0: 6, 1: stage, 2: 6, 3: 6, 4: 6}) == (stage > 3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("n", "opened"), [(4, 1 + 4 * 5), (5, 1 + 5 * 5), (6, 1 + 6 * 5 + 15 * 25)]
)
def test_the_sum_is_exact_for_every_pattern_of_dropouts_of_up_to_six(n: int, opened: int) -> None:
    # Six clients bear two dropouts: the threshold is 4.
    assert count_opened(n, every_pattern(n)) == opened


@pytest.mark.parametrize("ring", [16, 32, 64])
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_the_sum_is_exact_in_every_ring_with_dropouts_before_and_after_the_upload(
    ring: int, rounding: str
) -> None:
    code = FixedPoint(ring, 8.0, rounding, most=7)  # type: ignore[arg-type]
    session = Session(agreement(7, d=100, code=code))
    assert check_pattern(session, 0, {0: 6, 1: 3, 2: 6, 3: 6, 4: 4, 5: 6, 6: 6})


def test_reported_weights_travel_with_the_uploads_and_count_for_the_survivors_only() -> None:
    session = Session(agreement(5, weights=None, max_weight=1000))
    session.begin(0)
    session.updates = {
        c: type(u)(u.delta, 100 * c + 1, None, u.model_hash) for c, u in session.updates.items()
    }
    session.until(5, silent={2: 3})
    view = session.stage(silent=(2,))
    assert view is not None
    weights = {0: 1, 1: 101, 3: 301, 4: 401}
    assert view.weights.tolist() == [sum(weights.values())]
    (opened,) = sums_seen(session)
    assert np.array_equal(opened, exact_sum(session, tuple(weights)))
    rows = torch.stack([w * session.updates[c].delta.double() for c, w in weights.items()])
    mean = rows.sum(dim=0) / sum(weights.values())
    assert torch.allclose(
        view.rows[0].double(), mean, atol=4 * 1000 * session.terms.code.step / 804
    )


def test_blocks_open_a_sum_each_and_a_block_that_fails_is_lost_whole() -> None:
    session = Session(agreement(130, beacon=b"drawn"))
    blocks = session.terms.blocks(tuple(session.clients))
    assert [len(block) for block in blocks] == [65, 65]
    lost = {client: 3 for client in blocks[1][:33]}  # the threshold of 65 is 34
    view = session.play(0, silent={**lost, blocks[0][7]: 4, blocks[0][9]: 3})
    survivors = tuple(client for client in blocks[0] if client != blocks[0][9])
    assert view.members == (survivors,)
    (opened,) = sums_seen(session)
    assert np.array_equal(opened, exact_sum(session, survivors))


def test_the_sums_of_blocks_are_added() -> None:
    session = Session(agreement(130, beacon=b"drawn"))
    view = session.play(0)
    assert view.clients == tuple(range(130))
    opened = sums_seen(session)
    assert len(opened) == 2
    blocks = session.terms.blocks(tuple(session.clients))
    for block, total in zip(blocks, opened, strict=True):
        assert np.array_equal(total, exact_sum(session, block))
    assert torch.equal(
        view.rows[0], torch.from_numpy((opened[0] + opened[1]) / 130).to(torch.float32)
    )


def test_two_rounds_mask_the_same_update_differently() -> None:
    session = Session(agreement(5))
    uploads = []
    for round in (0, 1):
        session.begin(round, seed=-round).until(3)
        uploads.append(bytes(session.answers()[0])[40:-16])
    assert torch.equal(session.updates[0].delta, Session(agreement(5)).begin(0).updates[0].delta)
    assert uploads[0] != uploads[1]


def test_what_is_uploaded_looks_uniform_whatever_the_update() -> None:
    # Chi-square over 256 byte values, 4 x 10^5 bytes: 255 degrees of freedom, 1 in 10^6 above 375.
    session = Session(agreement(3, d=100_000)).begin(0).until(3)
    session.updates = {
        c: type(u)(torch.zeros(100_000), 1, None, u.model_hash) for c, u in session.updates.items()
    }
    masked = np.frombuffer(bytes(session.answers()[1])[40:-16], dtype=np.uint8)
    assert chi_square(masked) < 375
    assert chi_square(np.concatenate([masked[:-4000], np.zeros(4000, dtype=np.uint8)])) > 375


def chi_square(data: NDArray[np.uint8]) -> float:
    counts = np.bincount(data, minlength=256)
    return float(((counts - len(data) / 256) ** 2).sum() / (len(data) / 256))


class AnyRound(RuleBasedStateMachine):
    """Clients drop out, and junk arrives, at random moments of a round among up to 60 clients."""

    @initialize(n=st.integers(3, 60), corrupt=st.integers(1, 3), ring=st.sampled_from([16, 32, 64]))
    def set_up(self, n: int, corrupt: int, ring: int) -> None:
        n = max(n, corrupt + 2)
        code = FixedPoint(ring, 8.0, "nearest", most=n)
        self.session = Session(agreement(n, code=code, corrupt=corrupt, min_cohort=corrupt + 2))
        self.begin(0)

    def begin(self, round: int) -> None:
        self.session.begin(round)
        self.stage, self.abandoned = 1, False
        self.view: View | None = None
        self.first_silent = dict.fromkeys(self.session.clients, NEVER)
        self.waiting = self.session.answers()

    def running(self) -> bool:
        return self.view is None and not self.abandoned

    @precondition(running)
    @rule(data=st.data())
    def somebody_drops_out(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(sorted(self.first_silent)))
        self.first_silent[client] = min(self.first_silent[client], self.stage)

    @precondition(running)
    @rule(data=st.data(), junk=st.binary(max_size=200))
    def junk_arrives(self, data: st.DataObject, junk: bytes) -> None:
        if not self.waiting:
            return
        client = data.draw(st.sampled_from(sorted(self.waiting)))
        other = data.draw(st.sampled_from(sorted(self.waiting)))
        assert not self.session.server.absorb(client, junk)
        if other != client:
            assert not self.session.server.absorb(client, self.waiting[other])
        assert not self.session.server.absorb(client, bytes(self.waiting[client])[:-1] + b"\0\0")

    @precondition(running)
    @rule()
    def the_stage_ends(self) -> None:
        for client, message in self.waiting.items():
            if self.first_silent[client] > self.stage:
                assert self.session.server.absorb(client, message)
                assert not self.session.server.absorb(client, message)
        try:
            self.view = self.session.server.close_stage()
        except RoundAbandoned:
            self.abandoned = True
        else:
            self.stage += 1
            if self.view is None:
                self.waiting = self.session.answers()

    @precondition(lambda self: not self.running())
    @rule()
    def a_new_round_begins(self) -> None:
        self.begin(self.session.round + 1)

    @invariant()
    def a_sum_is_exact_and_only_there_when_it_may_be(self) -> None:
        if not hasattr(self, "first_silent"):
            return
        survivors = expected_survivors(self.session.terms, self.first_silent)
        if self.abandoned:
            assert survivors is None
        if self.view is not None:
            assert self.view.members == (survivors,)
            (opened,) = sums_seen(self.session)
            assert np.array_equal(opened, exact_sum(self.session, self.view.clients))

    def teardown(self) -> None:
        while hasattr(self, "first_silent") and self.running():
            self.the_stage_ends()
            self.a_sum_is_exact_and_only_there_when_it_may_be()


TestAnyRound = AnyRound.TestCase
TestAnyRound.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
