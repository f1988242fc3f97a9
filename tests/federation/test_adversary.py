"""The adversary: the updates it sees, the updates it sends, and attacks of the catalog in runs.

Updates arrive in no order of clients here, so that a mix-up of rows and clients shows.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from securefl.channels.protocol import ClientUpdate, Seen
from securefl.errors import ScenarioError
from securefl.federation import engine
from securefl.federation.adversary import NOBODY, Adversary, Attack
from securefl.federation.values import Rule, Weigh
from securefl.privacy.events import SampledGaussian
from securefl.runs import api
from securefl.runs.folder import RunFolder
from securefl.runs.metrics import RunMetrics
from securefl.scenario import catalog
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.assemble.data import load_data
from securefl.scenario.chosen import Chosen
from securefl.scenario.making.adversary import success
from securefl.scenario.making.attack import make_attack, make_poison
from securefl.scenario.scenario import parse_scenario
from securefl.scenario.summary import summary
from tests.paths import ROOT
from tests.recorder import Recorder
from tests.values import present

EVENT = SampledGaussian(1.0, 2.0, 1)


def updates() -> dict[int, ClientUpdate]:
    """Clients 5 and 2, in this order."""
    return {
        5: ClientUpdate(torch.tensor([5.0, 0.0, 1.0]), 50, EVENT, b"five"),
        2: ClientUpdate(torch.tensor([2.0, 0.0, 1.0]), 20, None, b"two"),
    }


@dataclass
class Spy:
    """An attack that notes its input and adds a hundred times the row's place, in place."""

    inputs: list[tuple[list[list[float]], int]] = field(default_factory=list)  # known rows, round

    def __call__(self, own: Tensor, known: Tensor, round: int) -> Tensor:
        self.inputs.append((known.tolist(), round))
        own += 100 * torch.arange(1, 1 + len(own)).unsqueeze(1)
        return own


def owner(attack: Attack) -> Adversary:
    return Adversary(frozenset({2, 5}), attack)


def test_an_adversary_sees_the_honest_rows_of_its_clients_ascending() -> None:
    recorder = Recorder()
    owner(Spy()).rewrite(updates(), {}, round=0, observer=recorder)
    (observation,) = recorder.observations
    assert (observation.party, observation.kind) == ("adversary", Seen.OWN_HONEST_UPDATES)
    assert observation.about == (2, 5)
    assert observation.shape == (2, 3)
    assert observation.size == 24  # 4 bytes a coordinate
    assert present(observation.values).tolist() == [[2, 0, 1], [5, 0, 1]]


def test_each_client_sends_its_own_rewritten_row_with_weight_cost_and_model_unchanged() -> None:
    honest, spy = updates(), Spy()
    sent = owner(spy).rewrite(honest, {}, round=6).updates
    assert spy.inputs == [([[2.0, 0.0, 1.0], [5.0, 0.0, 1.0]], 6)]
    assert {client: update.delta.tolist() for client, update in sent.items()} == {
        2: [102, 100, 101],
        5: [205, 200, 201],
    }
    for client, update in sent.items():
        before = honest[client]
        assert (update.weight, update.spent, update.model_hash) == (
            before.weight,
            before.spent,
            before.model_hash,
        )


def test_an_attack_in_place_leaves_the_honest_updates_as_they_were() -> None:
    honest = updates()
    owner(Spy()).rewrite(honest, {}, round=0)
    assert honest[5].delta.tolist() == [5, 0, 1]
    assert honest[2].delta.tolist() == [2, 0, 1]


def test_an_adversary_without_a_client_in_the_round_attacks_nothing() -> None:
    spy = Spy()
    assert owner(spy).rewrite({}, {}, round=0) == ({}, None)
    assert spy.inputs == []


@pytest.mark.parametrize("rows", [1, 3])
def test_an_attack_with_too_many_or_too_few_rows_is_refused(rows: int) -> None:
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is (shorter|longer)"):
        owner(lambda own, known, round: torch.zeros(rows, 3)).rewrite(updates(), {}, round=0)


class Untouchable(Tensor):
    """A tensor whose numbers must not be read."""

    @classmethod
    def __torch_function__(cls, *args: object, **kwargs: object) -> object:
        raise AssertionError("an update was read that this adversary must not see")


def test_only_an_omniscient_adversary_reads_the_updates_of_other_clients() -> None:
    others = {7: ClientUpdate(Untouchable([1.0, 2.0, 3.0]), 1, None, b"seven")}
    with pytest.raises(AssertionError, match="must not see"):
        Adversary(frozenset({2, 5}), Spy(), omniscient=True).rewrite(updates(), others, round=0)
    spy = Spy()
    owner(spy).rewrite(updates(), others, round=0)
    assert spy.inputs == [([[2.0, 0.0, 1.0], [5.0, 0.0, 1.0]], 0)]


def test_an_omniscient_adversary_observes_and_uses_the_rows_of_the_others() -> None:
    spy = Spy()
    others = {
        7: ClientUpdate(torch.tensor([7.0, 7.0, 7.0]), 1, None, b"seven"),
        3: ClientUpdate(torch.tensor([3.0, 3.0, 3.0]), 1, None, b"three"),
    }
    adversary = Adversary(frozenset({2, 5}), spy, omniscient=True)
    recorder = Recorder()
    sent = adversary.rewrite(updates(), others, round=4, observer=recorder).updates
    own, known = recorder.observations
    assert (own.about, own.kind) == ((2, 5), Seen.OWN_HONEST_UPDATES)
    assert (known.about, known.kind) == ((3, 7), Seen.OTHERS_HONEST_UPDATES)
    assert known.size == 24
    assert spy.inputs == [([[3.0, 3.0, 3.0], [7.0, 7.0, 7.0]], 4)]
    assert {client: update.delta.tolist() for client, update in sent.items()} == {
        2: [102, 100, 101],
        5: [205, 200, 201],
    }
    # Without other clients in the round it knows its own rows only.
    adversary.rewrite(updates(), {}, round=5)
    assert spy.inputs[1] == ([[2.0, 0.0, 1.0], [5.0, 0.0, 1.0]], 5)


def test_the_push_is_measured_in_root_mean_square_distances_of_the_known_rows() -> None:
    # Known answer, by hand: mean (3, 1, 0), squared distances 16, 4, 4, 16, so their root mean
    # square is sqrt 10. The rows that are sent are 10 and 20 away from the mean.
    others = {
        client: ClientUpdate(torch.tensor([at, 1.0, 0.0]), 1, None, b"")
        for client, at in ((1, -1.0), (3, 1.0), (4, 5.0), (6, 7.0))
    }
    rows = torch.tensor([[3.0, 1.0, 10.0], [3.0, 21.0, 0.0]])

    def sent(own: Tensor, known: Tensor, round: int) -> Tensor:
        return rows

    adversary = Adversary(frozenset({2, 5}), sent, omniscient=True)
    assert adversary.rewrite(updates(), others, round=0).push == pytest.approx(15 / 10**0.5)
    equal_rows = {client: ClientUpdate(torch.ones(3), 1, None, b"") for client in (1, 3)}
    assert adversary.rewrite(updates(), equal_rows, round=0).push is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_measuring_the_push_changes_no_row_that_the_attack_gets(dtype: torch.dtype) -> None:
    deltas = {client: torch.tensor([client, -1.0, 3.0], dtype=dtype) for client in (1, 3, 4)}
    others = {client: ClientUpdate(delta, 1, None, b"") for client, delta in deltas.items()}
    known_rows = []

    def sent(own: Tensor, known: Tensor, round: int) -> Tensor:
        known_rows.append(known.clone())
        return own

    Adversary(frozenset({2, 5}), sent, omniscient=True).rewrite(updates(), others, round=0)
    assert torch.equal(known_rows[0], torch.stack(list(deltas.values())))


def test_nobody_is_an_adversary_without_clients() -> None:
    assert NOBODY.clients == frozenset()
    assert NOBODY.rewrite({}, {}, round=0) == ({}, None)


NEEDED_PARAMETERS = {
    "sign_flip": ", scale = 2.0",
    "inner_product": ", scale = 2.0",
    "gaussian": ", std = 1.0",
    "targeted_label_flip": ", source = 0, target = 1",
    "backdoor": ", target = 1",
    "distributed_backdoor": ", target = 1",
    "model_replacement": ", target = 1, boost = 4.0",
    "constrain_and_scale": ", target = 1, boost = 4.0, anchor = 0.5",
}


def test_the_catalog_gives_an_attack_the_rows_and_rule_that_it_needs_and_nothing_else() -> None:
    own, known = torch.ones(2, 3), torch.tensor([[2.0, 4.0, 6.0], [4.0, 8.0, 2.0], [3.0, 6.0, 4.0]])

    def made(
        name: str,
        rule: Rule,
        weigh: Weigh | None = None,
        krum_f: int | None = None,
        **parameters: float,
    ) -> Tensor:
        chosen = Chosen(name, catalog.ATTACKS[name], parameters)
        attack = make_attack(chosen, seed=1, clients=5, rule=rule, weigh=weigh, krum_f=krum_f)
        return attack(own, known, 0)

    def no_rule(rows: Tensor, weights: Tensor) -> Tensor:
        raise AssertionError("this attack knows no rule")

    # inner_product starts from the known rows, sign_flip from its own.
    assert made("inner_product", no_rule, scale=0.5).tolist() == [[-1.5, -3.0, -2.0]] * 2
    assert made("sign_flip", no_rule, scale=2.0).tolist() == [[-2.0] * 3] * 2
    calls: list[tuple[int, list[float]]] = []  # rows, weights

    def median(rows: Tensor, weights: Tensor) -> Tensor:
        calls.append((len(rows), weights.tolist()))
        return rows.median(dim=0).values

    made("adaptive", median)
    assert calls == [(5, [1.0] * 5)] * 60
    weighed_rows: list[int] = []

    def weigh(rows: Tensor) -> Tensor:
        weighed_rows.append(len(rows))
        return torch.ones(len(rows))

    made("adaptive_weight", no_rule, weigh)
    assert weighed_rows == [5] * 60
    with pytest.raises(AssertionError, match="this attack knows no rule"):
        made("adaptive", no_rule)


@pytest.mark.parametrize(
    ("krum_f", "others", "expected"),
    [(None, 6, 2), (1, 6, 1), (0, 6, 0), (None, 4, 1), (None, 1, 0)],
)
def test_fang_krum_plays_against_the_scenarios_krum_or_the_strictest_possible_one(
    krum_f: int | None, others: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values_of_f = []

    def krum(rows: Tensor, *, f: int) -> Tensor:
        values_of_f.append(f)
        return rows[-1]

    monkeypatch.setitem(catalog.RULES, "krum", replace(catalog.RULES["krum"], function=krum))
    attack = make_attack(
        Chosen("fang_krum", catalog.ATTACKS["fang_krum"]),
        seed=1,
        clients=9,
        rule=lambda rows, weights: rows[0],
        weigh=None,
        krum_f=krum_f,
    )
    attack(torch.ones(2, 3), torch.ones(others, 3), 0)
    assert values_of_f == [expected]


def test_own_rows_sent_unchanged_have_no_push() -> None:
    passing = Adversary(frozenset({2, 5}), lambda own, known, round: own)
    assert passing.rewrite(updates(), {}, round=0).push is None


DIGITS = """
rounds = 1
data = { name = "digits", clients = 6 }
training = { kind = "sgd" }
"""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            'attack = { name = "min_max", clients = [0] }',
            'with a single client and knows = "own", min_max would send '
            "that client's update unchanged",
        ),
        (
            'cohort = { size = 2 }\nattack = { name = "a_little_is_enough", clients = [0, 1, 2] }',
            "attack: most_deviations needs 1 <= f < n, got f=2, n=2",
        ),
        (
            "attack = { name = 'distributed_backdoor', size = 3, target = 1, "
            "clients = [0, 1, 2, 3] }",
            "attack: a trigger of 3 pixels has no part for each of 4 clients: raise size",
        ),
        (
            "attack = { name = 'constrain_and_scale', target = 1, boost = 2.0, anchor = 2.0, "
            "clients = [0] }",
            "constrain_and_scale would overshoot the global model",
        ),
    ],
)
def test_an_attack_that_would_not_do_what_its_name_says_is_refused(
    text: str, sentence: str
) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        parse_scenario(DIGITS + text)


def test_a_cohort_of_one_corrupt_client_is_played(tmp_path: Path) -> None:
    text = DIGITS + 'cohort = { size = 1 }\nattack = { name = "zero", clients = [0, 1, 2, 3, 4] }'
    assert api.run(parse_scenario(text), tmp_path / "run")["rounds"] == 1


@pytest.mark.parametrize(
    ("defense", "recall"),
    [
        ('rule = { name = "krum", f = 1 }', 1.0),
        ('rule = "median"', None),
        ('rule = "geometric_median"', 1.0),
    ],
)
def test_the_record_names_the_clients_that_the_rule_distrusts(
    defense: str, recall: float | None, tmp_path: Path
) -> None:
    attack = 'attack = { name = "gaussian", std = 200.0, clients = [2] }\n'
    text = f"{DIGITS}defense = {{ {defense} }}\n{attack}"
    metrics = api.run(parse_scenario(text), tmp_path / "run")
    assert metrics["distrusted_recall"] == recall
    distrusted = RunFolder.open(tmp_path / "run").cells()[0][2].rounds()[0].distrusted
    if recall is None:
        assert distrusted is None
    else:
        rows = len(present(distrusted))
        assert rows == (5 if "krum" in defense else 1)
        assert metrics["distrusted_precision"] == 1 / rows


def test_the_transcript_has_the_updates_that_the_adversary_saw(tmp_path: Path) -> None:
    text = DIGITS + 'attack = { name = "mimic", knows = "omniscient", clients = [0, 4] }\n'
    late = "[[simulate.late]]\nclient = 3\nround = 0\n"
    made = assemble(parse_scenario(text + late), run="x", ledgers=tmp_path / "none")
    played = engine.play_round(made.federation, made.start)
    lines = [(line.kind, line.about) for line in played.observed if line.party == "adversary"]
    assert lines == [
        (Seen.OWN_HONEST_UPDATES, (0, 4)),
        (Seen.OTHERS_HONEST_UPDATES, (1, 2, 5)),  # the update of client 3 came too late
    ]


def test_attack_success_is_not_measured_where_the_model_answers_nan() -> None:
    scenario = parse_scenario(DIGITS + 'attack = { name = "backdoor", target = 0, clients = [0] }')
    assert (
        success(scenario.facts, load_data(scenario), lambda x: torch.full((len(x), 10), torch.nan))
        is None
    )


def test_every_client_of_a_distributed_backdoor_has_its_own_part_of_the_trigger() -> None:
    name = "distributed_backdoor"
    chosen = Chosen(name, catalog.ATTACKS[name], {"target": 1, "share": 1.0})
    poison = make_poison(chosen, seed=1, classes=2, corrupt=(6, 2, 4))
    stamped = {
        client: poison(client, torch.zeros(1, 5), torch.zeros(1).long())[0][0].tolist()
        for client in (2, 4, 6)
    }
    assert stamped == {2: [0, 0, 1, 0, 0], 4: [0, 0, 0, 1, 0], 6: [0, 0, 0, 0, 1]}


@pytest.mark.parametrize("channel", ["plain", "masked"])
def test_omniscience_is_called_a_fiction_and_works_under_masks_too(
    channel: str, tmp_path: Path
) -> None:
    text = f"""
        rounds = 1
        data = {{ name = "heart", partition = "halves" }}
        training = {{ kind = "sgd" }}
        channel = {{ kind = "{channel}" }}
        attack = {{ name = "inner_product", knows = "omniscient", scale = 9.0, clients = [0] }}
    """
    remark = "a fiction, for the worst case: the attack sees every update, as no client does"
    assert remark in summary(parse_scenario(text))
    assert remark not in summary(parse_scenario(text.replace('knows = "omniscient", ', "")))
    metrics = api.run(parse_scenario(text), tmp_path / "run")
    assert present(metrics["push"]) > 1
    assert RunFolder.open(tmp_path / "run").cells()[0][1]["attack"]["knows"] == "omniscient"


def heart(attack: str) -> str:
    """A scenario with two small sites and a robust rule."""
    return f"""
        rounds = 2
        data = {{ name = "heart", partition = "halves" }}
        training = {{ kind = "sgd" }}
        defense = {{ rule = "median" }}
        {attack}
    """


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> RunMetrics:
    return api.run(parse_scenario(heart("")), tmp_path_factory.mktemp("threat") / "clean").metrics


@pytest.mark.parametrize("name", catalog.ATTACKS)
def test_every_attack_of_the_catalog_plays_whole_runs(
    name: str, clean: RunMetrics, tmp_path: Path
) -> None:
    knows = "omniscient" if catalog.ATTACKS[name].omniscient else "own"
    rule = "geometric_median" if name == "adaptive_weight" else "median"
    parameters = NEEDED_PARAMETERS.get(name, "")
    text = heart(f'attack = {{ name = "{name}", knows = "{knows}", clients = [0, 1]{parameters} }}')
    attacked = api.run(parse_scenario(text.replace("median", rule)), tmp_path / "run")
    assert attacked["rounds"] == 2
    assert attacked["abandoned"] == 0
    assert attacked["auc"] != clean["auc"]  # the attack changed something
    attacks_without_push = {
        "non_finite",
        "label_flip",
        "targeted_label_flip",
        "backdoor",
        "distributed_backdoor",
    }
    assert (attacked["push"] is None) is (name in attacks_without_push)
    assert (attacked["screened_precision"], attacked["screened_recall"]) == (
        (1, 1) if name == "non_finite" else (None, 0)
    )
    assert (attacked["attack_success"] is None) is (catalog.ATTACKS[name].goal is None)
    assert not {"push", "screened_recall", "collapsed"} & set(clean)
    record = RunFolder.open(tmp_path / "run").cells()[0][2].rounds()[0]
    assert record.screened == ((0, 1) if name == "non_finite" else ())


def test_the_page_of_attacks_names_every_attack() -> None:
    page = (ROOT / "docs/attacks.md").read_text(encoding="utf-8")
    assert [name for name in catalog.ATTACKS if f"`{name}`" not in page] == []
