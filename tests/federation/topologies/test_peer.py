"""Peers: each node trains its own model, pays once, and combines it with its neighbours'."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import defenses
from securefl.channels.protocol import ClientUpdate, Seen
from securefl.errors import ScenarioError
from securefl.federation.engine import play_round
from securefl.federation.topologies.graphs import complete, ring
from securefl.federation.topologies.meeting import MODELS, MOMENTA, Meeting, models_of
from securefl.federation.topologies.peer import SEES, peer
from securefl.federation.values import Federation, State
from securefl.files import read_lines
from securefl.learning.evaluate import evaluate
from securefl.privacy.chain import read_entries
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.nodes import with_nodes
from securefl.runs.play import run_cell
from securefl.scenario.assemble.assemble import Assembled, join
from securefl.scenario.assemble.parts import parts
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.summary import summary
from securefl.vector import load_vector, to_vector
from tests import normed
from tests.federation.test_engine import FakeClient, federation
from tests.federation.topologies.playing import played
from tests.recorder import Recorder
from tests.runs.test_play import comparable, nothing, run_until_killed
from tests.scenario.texts import refusal
from tests.values import present

DIGITS = """
rounds = 3
weights = "equal"
data = { name = "digits", partition = "iid", clients = 6 }
model = { name = "logistic" }
"""
SGD = 'training = { kind = "sgd", batch = 32, lr = 0.1 }\n'
DP = """
training = {{ batch = 64, lr = 0.2 }}
privacy = {{ noise = "{noise}", noise_multiplier = 2.0 }}
"""
RING = 'topology = { kind = "peer", graph = "ring" }\n'
COMPLETE = 'topology = { kind = "peer", graph = "complete" }\n'


def sgd(more: str = RING) -> Scenario:
    return parse_scenario(DIGITS + SGD + more)


def dp(noise: str = "seeded", more: str = RING) -> Scenario:
    return parse_scenario(DIGITS + DP.format(noise=noise) + more)


def joined(scenario: Scenario) -> Assembled:
    return join(parts(scenario, run="", ledgers=Path("none")))


def state(cell: Cell) -> State:
    return load_checkpoint(cell.checkpoint).state


def models(cell: Cell) -> Tensor:
    return with_nodes(cell.keeps, state(cell)).step_state[MODELS]


# Known answers.


def quadratics(*targets: float) -> Federation:
    """Nodes that move a tenth of the way to their targets, from wherever they stand."""

    class Node(FakeClient):
        def receive(self, request: bytes) -> None:
            return None

        def train(self) -> ClientUpdate:
            update = super().train()
            assert self.loaded is not None
            return replace(update, delta=0.1 * (targets[self.client] - self.loaded.weights))

        def submit(self, update: ClientUpdate) -> bytes:
            return b""

    return federation(*(Node(client, (0.0, 0.0)) for client in range(len(targets))))


def nodes_after(beside: bool, rounds: int, momentum: float = 0.0) -> list[float]:
    play = peer(Meeting(complete(2), defenses.gossip, {}, momentum=momentum, beside=beside))
    setup, now = quadratics(1.0, 3.0), State(torch.zeros(2))
    for _ in range(rounds):
        now = play(setup, now, Recorder()).state
    return models_of(now, 2)[:, 0].tolist()


def test_by_hand_two_nodes_train_and_then_mix() -> None:
    # 0 -> .1, .3 -> .2 both; .2 + .08 = .28 and .2 + .28 = .48 -> .38 both.
    assert nodes_after(False, 1) == pytest.approx([0.2, 0.2], abs=1e-6)
    assert nodes_after(False, 2) == pytest.approx([0.38, 0.38], abs=1e-6)


def test_by_hand_d_psgd_steps_from_the_unmixed_model() -> None:
    # 0 -> .1, .3; their mean .2, plus .1 (1 - .1) = .29 and plus .1 (3 - .3) = .47.
    assert nodes_after(True, 1) == pytest.approx([0.1, 0.3], abs=1e-6)
    assert nodes_after(True, 2) == pytest.approx([0.29, 0.47], abs=1e-6)


def test_by_hand_the_momentum_of_two_rounds() -> None:
    # Half of .1 and .3: .05, .15 -> .1 both. Updates .09 and .29; momenta .025 + .045 = .07 and
    # .075 + .145 = .22 -> .1 + .145.
    assert nodes_after(False, 1, momentum=0.5) == pytest.approx([0.1, 0.1], abs=1e-6)
    assert nodes_after(False, 2, momentum=0.5) == pytest.approx([0.245, 0.245], abs=1e-6)


def test_a_complete_graph_with_equal_weights_is_fedavg() -> None:
    server, peers = joined(sgd("")), joined(sgd(COMPLETE))
    one, other = server.start, peers.start
    for _ in range(3):
        one = play_round(server.federation, one).state
        other = peers.play(peers.federation, other, Recorder()).state
    # FedAvg averages changes, and peers models: a rounding of the last bit lies between.
    torch.testing.assert_close(other.weights, one.weights, rtol=0, atol=1e-6)
    for model in models_of(other, 6):
        torch.testing.assert_close(model, one.weights, rtol=0, atol=1e-6)


RULES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mean": lambda own, rows, weights: own + (weights[:, None] * (rows - own)).sum(dim=0),
    "nna": lambda own, rows, weights: nearest(own, rows, 1),
    "trimmed_mean": lambda own, rows, weights: (
        torch.cat([own[None], rows]).sort(dim=0).values[1:-1].mean(dim=0)
    ),
}


def nearest(own: Tensor, rows: Tensor, f: int) -> Tensor:
    order = (rows - own).norm(dim=1).argsort()
    return torch.cat([own[None], rows[order[: len(rows) - f]]]).mean(dim=0)


def slowly(scenario: Scenario, rule: str, neighbors: list[list[int]], beside: bool) -> Tensor:
    """Plays the three rounds in float64, in the most obvious way."""
    made = parts(scenario, run="", ledgers=Path("none"))
    start = joined(scenario).start.weights
    x = start.double().expand(6, -1).clone()
    for round in range(3):
        deltas = torch.stack(
            [made.trainers[node].fit(x[node].float(), round=round).delta for node in range(6)]
        ).double()
        sent = x if beside else x + deltas
        after = []
        for node in range(6):
            degrees = [len(neighbors[other]) for other in neighbors[node]]
            weights = torch.tensor([1 / (1 + max(len(neighbors[node]), d)) for d in degrees])
            after.append(RULES[rule](sent[node], sent[neighbors[node]], weights.double()))
        x = torch.stack(after) + (deltas if beside else 0)
    return x


FOUR = [[1, 2, 4, 5], [0, 2, 3, 5], [0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5], [0, 1, 3, 4]]


@pytest.mark.parametrize("order", ["train_then_mix", "d_psgd"])
@pytest.mark.parametrize("rule", RULES)
def test_rounds_are_those_of_the_slow_way(rule: str, order: str, tmp_path: Path) -> None:
    edges = [[node, other] for node in range(6) for other in FOUR[node] if node < other]
    chosen = f'"{rule}"' if rule == "mean" else f'{{ name = "{rule}", f = 1 }}'
    scenario = sgd(
        f'topology = {{ kind = "peer", edges = {edges}, order = "{order}" }}\n'
        f"defense = {{ rule = {chosen} }}\n"
    )
    expected = slowly(scenario, rule, FOUR, order == "d_psgd")
    torch.testing.assert_close(
        models(played(scenario, tmp_path / "cell")).double(), expected, rtol=0, atol=2e-6
    )


def test_nodes_of_other_degrees_weigh_each_other_by_metropolis(tmp_path: Path) -> None:
    star = [[0, 1], [0, 2], [0, 3], [3, 4], [4, 5]]
    neighbors = [[1, 2, 3], [0], [0], [0, 4], [3, 5], [4]]
    scenario = sgd(f'topology = {{ kind = "peer", edges = {star} }}\n')
    torch.testing.assert_close(
        models(played(scenario, tmp_path / "cell")).double(),
        slowly(scenario, "mean", neighbors, False),
        rtol=0,
        atol=2e-6,
    )


# What parties see, and what it costs.


def test_parties_see_what_is_declared_and_neighbours_see_one_model(tmp_path: Path) -> None:
    assembled = joined(sgd())
    kept = Recorder()
    assembled.play(assembled.federation, assembled.start, kept)
    sent: dict[int, list[Tensor]] = {}
    for one in kept.observations:
        if one.header.kind is Seen.PEER_MODEL and one.header.party != "network":
            (sender,) = one.header.about
            receiver = int(one.header.party.removeprefix("client "))
            assert sender in ring(6).neighbors[receiver]
            sent.setdefault(sender, []).append(present(one.values))
    # The same bytes to each of its two neighbours: one release.
    assert all(len(rows) == 2 and torch.equal(*rows) for rows in sent.values())
    assert set(sent) == set(range(6))
    cell = played(sgd(), tmp_path / "cell")
    seen = {
        (line["party"].split()[0], line["kind"])
        for line in read_lines(cell.folder / "transcript.jsonl")
    }
    assert seen == {(party, kind.value) for party, kinds in SEES.items() for kind in kinds}


def test_bytes_are_those_of_a_model_for_each_neighbour(tmp_path: Path) -> None:
    on_ring, on_all = (
        played(sgd(more), tmp_path / str(index)).rounds()[0]
        for index, more in enumerate((RING, COMPLETE))
    )
    assert on_all.bytes_up * 2 == on_ring.bytes_up * 5
    assert on_ring.bytes_up // 12 > 4 * 650  # 650 coordinates of float32, and a head
    assert on_ring.bytes_up // 12 < 4 * 650 + 200
    assert on_ring.bytes_down == 0


@pytest.mark.parametrize("more", [RING, COMPLETE])
def test_a_round_is_paid_for_once_whatever_the_neighbours(more: str, tmp_path: Path) -> None:
    cell = played(dp(more=more), tmp_path / "cell")
    for client in range(6):
        entries = read_entries(cell.ledgers / f"{client}.jsonl")
        assert [entry["kind"] for entry in entries] == ["reserve", "settle"] * 3


# Failures.


def failing(more: str) -> str:
    return f"{RING}simulate = {{ {more} }}\n"


def test_a_silent_node_keeps_its_model_and_its_neighbours_go_on_without_it() -> None:
    assembled = joined(sgd(failing("drop = [{ client = 1, round = 0, stage = 1 }]")))
    after = assembled.play(assembled.federation, assembled.start, Recorder())
    assert after.record.survivors == (0, 2, 3, 4, 5)
    assert list(after.record.absent) == [1]
    assert torch.equal(models_of(after.state, 6)[1], assembled.start.weights)
    made = parts(sgd(), run="", ledgers=Path("none"))
    x = [assembled.start.weights + made.trainers[i].fit(assembled.start.weights, round=0).delta
         for i in range(6)]  # fmt: skip
    # The silent neighbour's third falls to the node itself.
    expected = (2 * x[2] + x[3]) / 3
    torch.testing.assert_close(models_of(after.state, 6)[2], expected, rtol=0, atol=1e-6)


def test_a_late_node_has_paid_and_nothing_of_it_counts(tmp_path: Path) -> None:
    cell = played(dp(more=failing("late = [{ client = 2, round = 1 }]")), tmp_path / "cell")
    assert cell.rounds()[1].survivors == (0, 1, 3, 4, 5)
    entries = read_entries(cell.ledgers / "2.jsonl")
    assert [(entry["release"][2], entry["kind"]) for entry in entries] == [
        (0, "reserve"),
        (0, "settle"),
        (1, "reserve"),
        (2, "reserve"),
        (2, "settle"),
    ]


def test_too_few_trainings_leave_all_models_as_they_were(tmp_path: Path) -> None:
    drops = ", ".join(f"{{ client = {client}, round = 1 }}" for client in range(4))
    more = failing(f"drop = [{drops}]") + 'channel = { kind = "plain", min_cohort = 3 }\n'
    cell = played(sgd(more), tmp_path / "cell")
    records = cell.rounds()
    assert [record.abandoned for record in records] == [False, True, False]
    assert records[1].reason == "2 nodes trained, it takes 3"
    assert (records[1].accuracy, records[1].worst) == (records[0].accuracy, records[0].worst)


def test_a_node_that_hears_too_few_goes_on_by_itself() -> None:
    drops = ", ".join(f"{{ client = {client}, round = 0 }}" for client in (1, 2, 3))
    scenario = sgd(
        f'{COMPLETE}defense = {{ rule = {{ name = "nna", f = 1 }} }}\n'
        f"simulate = {{ drop = [{drops}] }}\n"
    )
    assembled = joined(scenario)
    after = assembled.play(assembled.federation, assembled.start, Recorder()).state
    x = assembled.start.weights
    made = parts(scenario, run="", ledgers=Path("none"))
    alone = x + made.trainers[0].fit(x, round=0).delta
    assert torch.equal(models_of(after, 6)[0], alone)


# Resuming.


@pytest.mark.parametrize("rule", ['"mean"', '{ name = "monna", f = 0 }'])
def test_a_killed_run_goes_on_bit_for_bit(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = dp(more=f"{RING}defense = {{ rule = {rule} }}\n")
    whole, killed = Cell(tmp_path / "whole"), Cell(tmp_path / "killed")
    expected = run_cell(whole, scenario, on_round=nothing)
    run_until_killed(monkeypatch, killed, scenario, round=1)
    assert comparable(run_cell(killed, scenario, on_round=nothing)) == comparable(expected)
    assert torch.equal(models(killed), models(whole))
    assert torch.equal(state(killed).weights, state(whole).weights)


def test_momenta_are_kept_from_round_to_round() -> None:
    assembled = joined(sgd(f'{RING}defense = {{ rule = {{ name = "monna", f = 0 }} }}\n'))
    after = assembled.play(assembled.federation, assembled.start, Recorder()).state
    made = parts(sgd(), run="", ledgers=Path("none"))
    delta = made.trainers[3].fit(assembled.start.weights, round=0).delta
    torch.testing.assert_close(after.step_state[MOMENTA][3], 0.1 * delta)


def test_the_models_of_nodes_outlive_a_crash_at_the_very_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = played(sgd(), tmp_path / "whole"), Cell(tmp_path / "killed")

    class Crash(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Cell, "finish", crash)
        with pytest.raises(Crash):
            run_cell(killed, sgd(), on_round=nothing)
    assert MODELS not in state(killed).step_state
    again = run_cell(killed, sgd(), on_round=nothing)
    assert comparable(again) == comparable(present(whole.metrics()))
    assembled = joined(sgd())
    for node in range(6):
        file = killed.keeps / str(node) / "model.safetensors"
        assembled.model.load_state_dict(load_file(file))
        assert torch.equal(to_vector(assembled.model), models(whole)[node])


def test_under_fresh_noise_a_round_that_was_cut_short_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(tmp_path / "cell")
    run_until_killed(monkeypatch, cell, dp("system"), round=1)
    run_cell(cell, dp("system"), on_round=nothing)
    assert [record.abandoned for record in cell.rounds()] == [False, True, False]
    for client in range(6):
        entries = read_entries(cell.ledgers / f"{client}.jsonl")
        released = [entry["release"][2] for entry in entries if entry["kind"] == "reserve"]
        assert sorted(set(released)) == sorted(released)


def test_workers_change_nothing(tmp_path: Path) -> None:
    heart = parse_scenario('rounds = 3\ndata = { name = "heart" }\n' + SGD + RING)
    one, two = (played(heart, tmp_path / str(n), workers=n) for n in (1, 2))
    assert torch.equal(models(one), models(two))


# Attacks.


def attacked(attack: str, rule: str = '{ name = "nna", f = 1 }') -> Scenario:
    return sgd(f"{COMPLETE}defense = {{ rule = {rule} }}\nattack = {{ {attack} }}\n")


def test_a_corrupt_node_flips_the_model_that_it_sends_and_nna_leaves_it_out() -> None:
    assembled = joined(attacked('name = "sign_flip", scale = 1.0, clients = [2]'))
    kept = Recorder()
    after = assembled.play(assembled.federation, assembled.start, kept).state
    x = assembled.start.weights
    made = parts(sgd(), run="", ledgers=Path("none"))
    moved = torch.stack([x + made.trainers[i].fit(x, round=0).delta for i in range(6)])
    lies = [
        present(one.values)
        for one in kept.observations
        if one.header.kind is Seen.PEER_MODEL and one.header.about == (2,)
    ]
    assert all(torch.equal(lie, -moved[2]) for lie in lies)
    assert len(lies) == 10  # five neighbours, and the network
    honest = moved[[0, 1, 3, 4, 5]].double().mean(dim=0).float()
    torch.testing.assert_close(models_of(after, 6)[0], honest, rtol=0, atol=1e-6)
    # The run's one model is the mean of the honest nodes' models.
    expected = models_of(after, 6)[[0, 1, 3, 4, 5]].double().mean(dim=0).float()
    assert torch.equal(after.weights, expected)


def test_an_adversary_that_knows_the_receiver_sends_each_another_row() -> None:
    more = 'name = "a_little_is_enough", knows = "omniscient", clients = [2]'
    assembled = joined(sgd(f'{RING}defense = {{ rule = "mean" }}\nattack = {{ {more} }}\n'))
    kept = Recorder()
    assembled.play(assembled.federation, assembled.start, kept)
    rows = {
        one.header.party: present(one.values)
        for one in kept.observations
        if one.header.kind is Seen.PEER_MODEL and one.header.about == (2,)
    }
    assert not torch.equal(rows["client 1"], rows["client 3"])
    known = [
        one.header.about
        for one in kept.observations
        if one.header.kind is Seen.OTHERS_HONEST_UPDATES
    ]
    assert known == [(0, 1), (3, 4)]  # what each of its two neighbours puts together


def test_rows_that_are_not_finite_are_set_aside_and_reported(tmp_path: Path) -> None:
    cell = played(
        attacked('name = "non_finite", clients = [2]', rule='"mean"'),
        tmp_path / "cell",
    )
    assert [record.screened for record in cell.rounds()] == [(2,)] * 3
    assert bool(models(cell).isfinite().all())


# Figures.


def test_the_figures_are_means_of_honest_nodes_with_the_worst_and_their_distance(
    tmp_path: Path,
) -> None:
    attack = 'attack = { name = "sign_flip", scale = 1.0, clients = [2] }'
    scenario = sgd(f'{RING}defense = {{ rule = "mean" }}\n{attack}\n')
    cell = Cell(tmp_path / "cell")
    metrics = run_cell(cell, scenario, on_round=nothing)
    assembled = joined(scenario)
    honest = models(cell)[[0, 1, 3, 4, 5]]
    accuracies = []
    for model in honest:
        load_vector(assembled.model, model)
        accuracies.append(
            present(evaluate(assembled.model, assembled.data.task, assembled.data.test).accuracy)
        )
    assert len(set(accuracies)) > 1
    assert metrics["accuracy"] == pytest.approx(sum(accuracies) / 5)
    assert metrics["worst"] == pytest.approx(min(accuracies))
    apart = (honest.double() - honest.double().mean(dim=0)).square().sum(dim=1).mean().sqrt()
    assert metrics["consensus"] == pytest.approx(float(apart))
    last = cell.rounds()[-1]
    assert (last.accuracy, last.worst) == (metrics["accuracy"], metrics["worst"])
    assert last.consensus == metrics["consensus"]


def test_each_site_is_judged_with_its_own_model(tmp_path: Path) -> None:
    heart = 'rounds = 2\ndata = { name = "heart" }\n' + SGD + RING
    cell = Cell(tmp_path / "cell")
    metrics = run_cell(cell, parse_scenario(heart), on_round=nothing)
    assert metrics["site_models"] == "each site's own"
    assembled = joined(parse_scenario(heart))
    for node, site in enumerate(assembled.data.sites):
        load_vector(assembled.model, models(cell)[node])
        alone = evaluate(assembled.model, assembled.data.task, present(site.test))
        assert metrics["sites"][site.name]["accuracy"] == alone.accuracy


def test_running_statistics_have_no_momentum_and_variances_stay_positive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    normed.add_to_catalog(monkeypatch)
    more = DIGITS.replace('"logistic"', '"normed"').replace('"iid"', '"dirichlet"')
    for rule in ('"mean"', '{ name = "monna", f = 0 }'):
        given = parse_scenario(more + SGD + f"{RING}defense = {{ rule = {rule} }}\n")
        assembled = joined(given)
        now = assembled.start
        for _ in range(3):
            now = assembled.play(assembled.federation, now, Recorder()).state
        assert assembled.federation.evaluate(now).accuracy is not None
        for model in models_of(now, 6):
            load_vector(assembled.model, model)
            assert all(
                bool((value > 0).all())
                for name, value in assembled.model.named_buffers()
                if name.endswith("running_var")
            )
    with pytest.raises(ScenarioError, match="the change of one running variance to another"):
        parse_scenario(more + SGD + 'topology = { kind = "peer", order = "d_psgd" }\n')


def test_nodes_whose_answers_are_not_finite_leave_no_figure_and_no_trace_back() -> None:
    assembled = joined(sgd())
    huge = models_of(assembled.start, 6).clone()
    huge[2] = 3e38
    judged = assembled.federation.evaluate(replace(assembled.start, step_state={MODELS: huge}))
    assert (judged.accuracy, judged.worst) == (None, None)
    assert judged.records > 0


def test_an_interrupted_round_has_the_figures_of_the_unchanged_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(tmp_path / "cell")
    run_until_killed(monkeypatch, cell, dp("system"), round=1)
    run_cell(cell, dp("system"), on_round=nothing)
    before, cut = cell.rounds()[:2]
    assert cut.abandoned
    assert (cut.accuracy, cut.worst, cut.consensus) == (
        before.accuracy,
        before.worst,
        before.consensus,
    )


def test_a_random_graph_follows_from_the_seed() -> None:
    more = 'topology = { kind = "peer", graph = { name = "random_regular", degree = 3 } }\n'
    weights = []
    for seed in (0, 0, 1):
        assembled = joined(parse_scenario(f"seed = {seed}\n" + DIGITS + SGD + more))
        kept = Recorder()
        assembled.play(assembled.federation, assembled.start, kept)
        weights.append(
            {(*one.header.about, one.header.party) for one in kept.observations}  # who hears whom
        )
    assert weights[0] == weights[1] != weights[2]


def test_the_summary_says_who_sees_whom_and_where_liars_are_too_many() -> None:
    said = summary(attacked('name = "sign_flip", scale = 1.0, clients = [1, 2]'))
    assert "peer: there is no server; each of 6 nodes sees the whole models of its 5" in said
    assert "node 0 has 2 corrupt neighbours, and f = 1: its rule promises nothing there" in said
    assert "; the same holds for 3 more nodes" in said
    assert "no proof" not in said
    for rule in ("nna", "monna"):
        sparse = sgd(f'{RING}defense = {{ rule = {{ name = "{rule}", f = 0 }} }}\n')
        assert f"no proof: {rule} is proven only where all nodes hear all others" in summary(sparse)
    assert "corrupt neighbours" not in summary(sgd())
    assert "rule nna (f=1), which each node has for itself" in said


REFUSED = [
    ('channel = { kind = "masked" }', "channel.kind = 'masked' hides updates from a server"),
    ('defense = { rule = "median" }', "use one of mean, trimmed_mean, nna, monna, self_centered"),
    (
        'defense = { rule = "mean", prefilters = [{ name = "clip_norms", radius = 1.0 }] }',
        "defense.prefilters takes rows that nobody but a server has",
    ),
    (
        'defense = { rule = { name = "nna", f = 1 } }',
        "nna with f=1 needs 3 neighbours, and node 0 has 2: use a smaller f, or a graph",
    ),
    ('defense = { rule = { name = "trimmed_mean", f = 2 } }', "needs 4 neighbours, and node 0"),
    ('defense = { rule = { name = "trimmed_mean", f = -1 } }', "f must be >= 0, got -1"),
    ('defense = { rule = "nna" }', "f"),
    ('server = { step = "fedadam" }', "nobody takes server.step = 'fedadam'; remove it"),
    ('training = { kind = "sgd" }\nweights = "reported"', "told weights = 'reported'; remove it"),
    ("engine = { stack = 4 }", "engine.stack has no effect"),
    (
        'training = { kind = "sgd", algorithm = "scaffold" }',
        "training.algorithm = 'scaffold' needs one server, of whose model",
    ),
    (
        'attack = { name = "adaptive", knows = "omniscient", clients = [0] }',
        "searches for rows that hurt a server's rule",
    ),
    (
        'attack = { name = "a_little_is_enough", knows = "omniscient", clients = [0, 2] }',
        "a_little_is_enough needs z where f has a majority, got f=2, n=3",
    ),
    ('training = { kind = "sgd", fine_tune = 2 }', "training.fine_tune tunes one global model"),
    (
        'data = { name = "digits" }\ntraining = { kind = "sgd" }\n'
        'attack = { name = "model_replacement", target = 1, boost = 6.0, clients = [0] }',
        "attack.name = 'model_replacement' boosts an update",
    ),
    ("cohort = { size = 2 }", "cohort.size = 2 leaves nodes out, and all of them talk"),
    ('topology = { kind = "peer", edges = [[0, 1], [2, 3]] }', "the graph falls apart"),
    ('topology = { kind = "peer", graph = "torus" }', "rows x columns nodes"),
    ('topology = { kind = "peer", graph = "star" }', "topology.graph"),
    ('topology = { kind = "peer", graph = "random_regular" }', "takes a degree, such as 4"),
    (
        'topology = { kind = "peer", graph = { name = "ring", degree = 2 } }',
        "topology.graph.degree has no effect with 'ring'",
    ),
    (
        'topology = { kind = "peer", graph = "ring", edges = [[0, 1]] }',
        "graph and edges both say who is a neighbour; remove one",
    ),
    ('topology = { kind = "peer", order = "random" }', "use 'train_then_mix' or 'd_psgd'"),
    ('topology = { kind = "cyclic", graph = "ring" }', "topology.graph has no effect with"),
    ('topology = "server"\ndefense = { rule = { name = "nna", f = 1 } }', "topology.kind = 'peer'"),
]


@pytest.mark.parametrize(("line", "sentence"), REFUSED)
def test_what_peers_do_not_have_is_refused(line: str, sentence: str) -> None:
    given = line if "topology = " in line else f"{RING}{line}"
    assert sentence in refusal(given + "\n")


def test_peers_end_with_their_last_models() -> None:
    breast = 'data = { name = "medmnist:breastmnist", test_on = "validation" }\n'
    best = 'evaluate = { keep = "best" }\n'
    assert "evaluate.keep keeps one model, and every node has its own" in refusal(
        RING + breast + best
    )


def test_between_sites_they_are_refused() -> None:
    with pytest.raises(ScenarioError, match="topology has no place between sites"):
        check_deployable(sgd())
