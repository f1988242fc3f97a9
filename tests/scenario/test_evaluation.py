"""Evaluation at the sites: its keys, its price, its session, and shares that add up."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from securefl import vector
from securefl.channels.messages import ModelMessage
from securefl.channels.protocol import ClientUpdate, Sides, View
from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.errors import BudgetExceeded, ClientFailure
from securefl.federation.client import Client
from securefl.learning.counts import CountsLayout
from securefl.privacy.accounting.epsilon import epsilon
from securefl.scenario import catalog
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.evaluation import (
    counting_parts,
    counts_cost,
    counts_layout,
    counts_options,
    counts_plan,
    judged_models,
    judging_shares,
    open_figures_ledger,
    summed,
)
from securefl.scenario.assemble.public import PublicParts, public_parts
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.scenario.texts import refusal

PLAIN = """
rounds = 4
training = { kind = "sgd" }
data = { name = "heart", partition = "natural" }
weights = "equal"
"""
MASKED = PLAIN + 'channel = { kind = "masked", min_cohort = 3, ring = 16 }\n'
SUMS = 'evaluate = { leave = "sums" }\n'
NOISY = 'evaluate = { leave = "noisy", epsilon = 2.0 }\n'
VALIDATION = ("data.test_on=validation",)


def scenario(text: str, *overrides: str) -> Scenario:
    return parse_scenario(text, overrides=overrides)


def public(text: str, *overrides: str) -> PublicParts:
    return public_parts(scenario(text, *overrides), run="0" * 16)


def test_nothing_leaves_unless_the_scenario_asks_for_it() -> None:
    for text in (PLAIN, PLAIN + 'evaluate = { leave = "never" }\n', PLAIN + "evaluate.every = 2"):
        assert scenario(text).leave == "never"
        assert judged_models(scenario(text)) == ()
        assert not any("between sites" in line for line in summary(scenario(text)))


def test_test_records_judge_the_last_model_once_and_validation_records_also_rounds() -> None:
    assert judged_models(scenario(PLAIN + SUMS)) == (4,)
    assert judged_models(scenario(PLAIN + SUMS, "evaluate.every=2")) == (4,)
    assert judged_models(scenario(PLAIN + SUMS, *VALIDATION)) == (1, 2, 3, 4)
    assert judged_models(scenario(PLAIN + SUMS, "evaluate.every=2", *VALIDATION)) == (2, 4)
    assert judged_models(scenario(PLAIN + SUMS, "evaluate.every=3", *VALIDATION)) == (3, 4)


def test_the_summary_says_what_leaves_and_what_it_costs() -> None:
    assert "between sites, test records are counted where they are: the sums are NOT private" in (
        summary(scenario(PLAIN + SUMS))
    )
    assert (
        "between sites, validation records are counted where they are: noise makes all figures "
        "together (2, 1e-05)-DP for one validation record"
    ) in summary(scenario(PLAIN + NOISY, *VALIDATION))


@pytest.mark.parametrize(
    ("evaluate", "sentence"),
    [
        ('leave = "noisy"', "needs evaluate.epsilon, the price of all figures together"),
        ('leave = "noisy", epsilon = 0.001', "evaluate.epsilon must be from 0.01 to 100"),
        ('leave = "noisy", epsilon = nan', "evaluate.epsilon must be from 0.01 to 100"),
        ('leave = "noisy", epsilon = 1.0, delta = 0.5', "evaluate.delta must be from 1e-14"),
        ('leave = "sums", epsilon = 1.0', "evaluate.epsilon has no effect unless evaluate.leave"),
        ("delta = 1e-5", "evaluate.delta has no effect unless evaluate.leave = 'noisy'"),
        ('leave = "all"', "evaluate.leave"),
    ],
)
def test_a_price_without_noise_and_noise_without_a_price_are_refused(
    evaluate: str, sentence: str
) -> None:
    assert sentence in refusal(f"{PLAIN}evaluate = {{ {evaluate} }}\n")


def test_all_noisy_figures_of_a_run_together_cost_the_declared_price() -> None:
    cost = counts_cost(scenario(PLAIN + NOISY, *VALIDATION))
    assert cost is not None
    assert 1.98 < epsilon({cost: 4}, delta=1e-5) <= 2.0
    once = counts_cost(scenario(PLAIN + NOISY))
    assert once is not None
    assert 1.98 < epsilon({once: 1}, delta=1e-5) <= 2.0
    assert counts_cost(scenario(PLAIN + SUMS)) is None


def test_under_noise_there_are_fewer_bins() -> None:
    assert counts_layout(scenario(PLAIN + SUMS)) == CountsLayout(2, several=False, bins=1024)
    assert counts_layout(scenario(PLAIN + NOISY)) == CountsLayout(2, several=False, bins=64)


def test_the_counts_have_a_session_of_their_own() -> None:
    parts = public(MASKED + SUMS, "cohort.size=3")
    plan, updates = counts_plan(parts), parts.plan
    labelled = hashlib.sha256(b"securefl counts 1" + updates.session).digest()
    assert plan.session == labelled[:16]
    assert (plan.cohort, plan.rounds, plan.min_cohort) == (4, 5, 3)
    assert (updates.cohort, updates.rounds) == (3, 4)
    assert plan.weights == {0: 1, 1: 1, 2: 1, 3: 1}


def test_nobody_chooses_between_counts() -> None:
    chooses = (
        'channel={ kind = "masked", sketch = 16, corrupt = 1 }',
        'defense.rule={ name = "multi_krum", f = 1 }',
        'data={ name = "heart", partition = "iid", clients = 6 }',
    )
    parts = public(MASKED + SUMS, *chooses)
    assert parts.plan.selection is not None
    assert counts_plan(parts).selection is None
    assert counts_options(parts).keys() == counts_options(public(MASKED + SUMS)).keys()
    counts = {site: np.full(counts_plan(parts).d, site, dtype=np.int64) for site in range(6)}
    assert summed(played(parts, counts)).tolist() == [15] * counts_plan(parts).d


def played(parts: PublicParts, counts: dict[int, NDArray[np.int64]]) -> View:
    """Carries the counts of some sites through the channel that the scenario names."""
    kind = catalog.CHANNELS[parts.scenario.channel.kind]
    sides = kind.sides(counts_plan(parts), **counts_options(parts))
    server = sides.server
    name = bytes(32)
    server.begin(4, tuple(sorted(sides.clients)), name)
    view = None
    while view is None:
        for site, request in server.requests().items():
            if site not in counts:
                continue
            reply = sides.clients[site].receive(request)
            assert not isinstance(reply, View)
            delta = torch.from_numpy(counts[site].astype(np.float32))
            packet = reply or sides.clients[site].submit(ClientUpdate(delta, 1, None, name))
            assert server.absorb(site, packet)
        view = server.close_stage()
    return view


@pytest.mark.parametrize("text", [PLAIN, MASKED], ids=["plain", "masked"])
@pytest.mark.parametrize("sites", [(0, 1, 2, 3), (0, 1, 3)])
def test_the_channel_sums_counts_exactly(text: str, sites: tuple[int, ...]) -> None:
    parts = public(text + SUMS)
    draw = np.random.default_rng(1)
    length = counts_layout(parts.scenario).length
    counts = {site: draw.integers(-50, 2_000_000, length) for site in sites}
    total = sum(counts.values(), np.zeros(length, dtype=np.int64))
    assert summed(played(parts, counts)).tolist() == total.tolist()


def test_a_site_pays_for_noise_before_it_counts_and_not_beyond_the_price(tmp_path: Path) -> None:
    parts = public(PLAIN + NOISY)
    own = load_data(parts.scenario).sites[0].test
    assert own is not None
    sides = catalog.CHANNELS["plain"].sides(counts_plan(parts), **counts_options(parts))
    path = tmp_path / "test.jsonl"
    client = counting_parts(parts, 0, own, ledger=open_figures_ledger(parts.scenario, path)).joined(
        sides.clients[0]
    )
    ask(parts, sides, client, 3)
    assert len(path.read_text().splitlines()) == 1
    update = client.train()
    assert update.spent == counts_cost(parts.scenario)
    assert update.delta.min() < 0
    with pytest.raises(BudgetExceeded, match=r"release 2 would exceed epsilon 2 \(example\)"):
        ask(parts, sides, client, 4)
    assert len(path.read_text().splitlines()) == 1
    sides = catalog.CHANNELS["plain"].sides(counts_plan(parts), **counts_options(parts))
    restarted = counting_parts(
        parts, 0, own, ledger=open_figures_ledger(parts.scenario, path)
    ).joined(sides.clients[0])
    with pytest.raises(ClientFailure, match="round 3 was released before; under fresh noise"):
        ask(parts, sides, restarted, 3)


def ask(parts: PublicParts, sides: Sides, client: Client, round: int) -> None:
    """Asks a site for the counts of the first model, which it then pays for."""
    weights = vector.to_vector(parts.model)
    name = vector.model_hash(vector.layout(parts.model), weights)
    sides.server.begin(round, (0,), name)
    client.load(ModelMessage(parts.session, round, name, weights).to_bytes())
    assert client.receive(sides.server.requests()[0]) is None
    client.begin()


def test_noise_on_counts_is_fresh_although_training_without_noise_is_repeatable(
    tmp_path: Path,
) -> None:
    sgd = public(PLAIN + NOISY)
    assert sgd.scenario.repeatable
    seeded = public(PLAIN + NOISY, "privacy.noise=seeded", "training.kind=dp_sgd")
    for parts, same in ((sgd, False), (seeded, True)):
        counts = [_fitted(parts, tmp_path / f"{same}-{again}") for again in range(2)]
        assert torch.equal(*counts) is same


def _fitted(parts: PublicParts, ledger: Path) -> torch.Tensor:
    own = load_data(parts.scenario).sites[0].test
    assert own is not None
    tally = counting_parts(parts, 0, own, ledger=open_figures_ledger(parts.scenario, ledger)).tally
    return tally.fit(vector.to_vector(parts.model), round=1).delta


def test_the_shares_of_a_common_test_set_are_the_whole_of_it() -> None:
    data = load_data(parse_scenario('data = { name = "digits", clients = 7, partition = "iid" }'))
    shares = judging_shares(data)
    assert len(shares) == 7
    assert {len(share) for share in shares} <= {len(data.test) // 7, len(data.test) // 7 + 1}
    assert torch.equal(shares[2].labels[3], data.test.labels[2 + 3 * 7])
    whole = torch.cat([share.features for share in shares]).sum(dim=0)
    assert torch.allclose(whole, data.test.features.sum(dim=0))
    assert sum(map(len, shares)) == len(data.test)


def test_a_site_judges_on_its_own_records_where_it_has_some() -> None:
    data = load_data(scenario(PLAIN))
    assert judging_shares(data) == tuple(site.test for site in data.sites)
    # Not where the records that judge are others, as those of a site that is held out.
    record = Examples(torch.zeros(1, 1), torch.zeros(1, dtype=torch.long))
    site = Site("a", record, record)
    three = Examples(torch.arange(3.0).view(3, 1), torch.tensor([0, 1, 1]))
    other = FederatedData(Task(1, 2), (site, site), three)
    assert [share.labels.tolist() for share in judging_shares(other)] == [[0, 1], [1]]
