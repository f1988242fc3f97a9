"""An adversary's knowledge: of observations made by hand, and of real runs that clients sent."""

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from securefl.audit.knowledge import Knowledge, Sight, Watcher, Watchers
from securefl.audit.threats import THREATS
from securefl.audit.weights import client_weights, weights_in_step, weights_in_sum
from securefl.channels.protocol import Observation, Seen
from securefl.federation import engine
from securefl.federation.record import RoundRecord
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import parse_scenario
from tests.recorder import Recorder

WEIGHTS = {0: 1.0, 1: 2.0, 2: 3.0}


def vector(*values: float) -> Tensor:
    return torch.tensor(values)


def seen(party: str, kind: str, about: tuple[int, ...], values: Tensor | None) -> Observation:
    return Observation(party, Seen(kind), about, (2,), 8, values)


Round = tuple[tuple[Observation, ...], RoundRecord]  # given to a watcher


def round_of(
    number: int, *observations: Observation, took_part: tuple[int, ...] = (0, 1, 2)
) -> Round:
    record = RoundRecord(
        round=number,
        abandoned=not took_part,
        reason="",
        cohort=(0, 1, 2),
        survivors=took_part,
        absent={},
        screened=(),
        rejected=0,
        bytes_up=0,
        bytes_down=0,
        accuracy=None,
        ledger_heads={},
        seconds=0.0,
    )
    return observations, record


def watcher(
    who: str, *colluders: int, channel: str = "plain", weights: dict[int, float] | None = WEIGHTS
) -> Watcher:
    return Watcher(THREATS[who], colluders, 0, channel, weights)


def known(watching: Watcher, *rounds: Round, final: Tensor | None = None) -> Knowledge:
    for observations, record in rounds:
        for observation in observations:
            watching.observe(observation)
        watching.finish(record)
    return watching.known(vector(9.0, 9.0) if final is None else final)


def moved(sight: Sight) -> list[float]:
    assert sight.moved is not None
    values: list[float] = sight.moved.tolist()
    return values


def test_a_server_takes_the_targets_update_and_no_other() -> None:
    knowledge = known(
        watcher("server"),
        round_of(
            0,
            seen("server", "global model", (), vector(1.0, 1.0)),
            seen("server", "update in the clear", (1,), vector(5.0, 5.0)),
            seen("server", "update in the clear", (0,), vector(2.0, 3.0)),
            seen("client 0", "own update", (0,), vector(7.0, 7.0)),
        ),
    )
    (sight,) = knowledge.sights
    assert moved(sight) == [2.0, 3.0]
    assert sight.alone
    assert sight.model is not None
    assert sight.model.tolist() == [1.0, 1.0]


def test_observations_of_other_parties_are_not_known() -> None:
    knowledge = known(
        watcher("network"),
        round_of(0, seen("server", "update in the clear", (0,), vector(2.0, 3.0))),
        round_of(1, seen("client 0", "global model", (), vector(2.0, 3.0))),
    )
    assert [(sight.model, sight.moved) for sight in knowledge.sights] == [
        (None, None),
        (None, None),
    ]


def test_the_sum_with_the_target_is_taken_and_no_other() -> None:
    sums = [
        seen("server", "sum of updates", (1, 2), vector(8.0, 8.0)),
        seen("server", "sum of updates", (0, 3), vector(4.0, 4.0)),
        seen("server", "sum of updates", (4, 5), vector(9.0, 9.0)),
    ]
    (sight,) = known(watcher("server", channel="masked"), round_of(0, *sums)).sights
    assert moved(sight) == [4.0, 4.0]
    assert not sight.alone


def test_a_client_sees_the_steps_between_models_the_last_one_by_the_final_model() -> None:
    knowledge = known(
        watcher("clients", 1, weights=None),
        round_of(0, seen("client 1", "global model", (), vector(1.0, 1.0))),
        round_of(1, seen("client 1", "global model", (), vector(3.0, 2.0))),
        final=vector(3.5, 7.0),
    )
    assert [moved(sight) for sight in knowledge.moves] == [[2.0, 1.0], [0.5, 5.0]]
    assert not any(sight.alone for sight in knowledge.sights)


def test_a_step_of_one_client_is_not_said_to_be_its_update() -> None:
    """The server's step may have scaled it."""
    (sight,) = known(
        watcher("clients", 1, weights=None),
        round_of(0, seen("client 1", "global model", (), vector(1.0, 1.0)), took_part=(0,)),
        final=vector(3.5, 7.0),
    ).moves
    assert not sight.alone


def test_colluders_take_their_own_updates_out_of_the_step() -> None:
    """Weights 1, 2, 3: the mean of (6, 0), (0, 3) and (1, 1) is (1.5, 1.5)."""
    observations = [
        seen("client 1", "global model", (), vector(0.0, 0.0)),
        seen("client 1", "own update", (1,), vector(0.0, 3.0)),
    ]
    mean = vector(1.5, 1.5)
    (sight,) = known(watcher("clients", 1), round_of(0, *observations), final=mean).sights
    # 6 x (1.5, 1.5) - 2 x (0, 3) = (6, 0) + 3 x (1, 1)
    assert moved(sight) == [9.0, 3.0]
    assert not sight.alone
    observations.append(seen("client 2", "own update", (2,), vector(1.0, 1.0)))
    (sight,) = known(watcher("clients", 1, 2), round_of(0, *observations), final=mean).sights
    assert moved(sight) == [6.0, 0.0]
    assert sight.alone


def test_a_colluder_that_was_away_is_not_taken_out() -> None:
    observations = [
        seen("client 1", "global model", (), vector(0.0, 0.0)),
        seen("client 1", "own update", (1,), vector(100.0, 100.0)),
        seen("client 2", "own update", (2,), vector(1.0, 1.0)),
    ]
    (sight,) = known(
        watcher("clients", 1, 2),
        round_of(0, *observations, took_part=(0, 2)),
        final=vector(1.0, 2.0),
    ).sights
    # 4 x (1, 2) - 3 x (1, 1)
    assert moved(sight) == [1.0, 5.0]
    assert sight.alone


def test_a_target_that_was_away_did_not_move() -> None:
    models = [seen("client 1", "global model", (), vector(float(at), 0.0)) for at in range(3)]
    rounds = [
        round_of(at, model, took_part=(1, 2) if at == 1 else (0, 1, 2))
        for at, model in enumerate(models)
    ]
    knowledge = known(watcher("clients", 1, weights=None), *rounds)
    assert [sight.round for sight in knowledge.moves] == [0, 2]


def test_an_update_that_was_seen_is_known_though_its_round_was_abandoned() -> None:
    update = seen("server", "update in the clear", (0,), vector(1.0, 2.0))
    (sight,) = known(watcher("server"), round_of(0, update, took_part=())).sights
    assert moved(sight) == [1.0, 2.0]
    assert sight.alone


def test_an_update_that_never_left_is_not_opened() -> None:
    kept = round_of(0, seen("client 0", "own update", (0,), vector(2.0, 3.0)), took_part=(1, 2))
    assert known(watcher("server+key-holder", 1, channel="ckks"), kept).moves == []


def test_ciphertexts_are_opened_with_the_key_and_not_without() -> None:
    round = round_of(
        0,
        seen("server", "encrypted update", (0,), None),
        seen("client 0", "own update", (0,), vector(2.0, 3.0)),
        seen("client 2", "own update", (2,), vector(7.0, 7.0)),
        seen("client 1", "opened sum", (0, 1, 2), vector(1.0, 1.0)),
    )
    assert known(watcher("server", channel="ckks"), round).moves == []
    (sight,) = known(watcher("server+key-holder", 1, channel="ckks"), round).sights
    assert moved(sight) == [2.0, 3.0]
    assert sight.alone


@pytest.mark.parametrize(
    ("who", "channel", "final", "asked"),
    [
        ("server", "plain", True, True),
        ("server", "ckks", False, False),
        ("outsider", "ckks", False, True),
        ("outsider-weights", "masked", True, True),
        ("clients", "ckks", True, True),
    ],
)
def test_the_final_model_is_for_adversaries_that_end_with_it(
    who: str, channel: str, final: bool, asked: bool
) -> None:
    knowledge = known(watcher(who, 1, channel=channel), round_of(0))
    assert (knowledge.final is not None, knowledge.asked is not None) == (final, asked)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), {0: 200.0, 1: 173.0, 2: 31.0, 3: 86.0}),
        (("weights=equal",), {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}),
        (("weights=reported",), {0: 10.0, 1: 20.0, 2: 30.0, 3: 40.0}),
        (("defense.rule=median",), None),
        (("server.step=fedavgm",), None),
        (("server.lr=0.5",), None),
        (('defense.prefilters=[{name = "nearest_neighbor_mixing", f = 1}]',), None),
    ],
)
def test_updates_are_taken_out_of_means_only(
    overrides: tuple[str, ...], expected: dict[int, float] | None
) -> None:
    scenario = parse_scenario("training.kind = 'sgd'\nchannel.kind = 'plain'", overrides=overrides)
    sizes = {0: 10, 1: 20, 2: 30, 3: 40}
    weights = client_weights(scenario.facts, sizes, reported=scenario.weights == "reported")
    in_step = weights_in_step(weights, scenario.facts)
    assert (in_step is None) == (expected is None)
    if expected is not None and in_step is not None and scenario.weights != "declared":
        assert in_step == expected


def real(
    channel: str, who: str, *colluders: int, weights: str = "equal", server: str = "step = 'fedavg'"
) -> tuple[Knowledge, list[Tensor]]:
    """An adversary's knowledge after three rounds of hospitals, and what client 0 really sent."""
    knowledge, sent = of_all(channel, who, *colluders, weights=weights, server=server)
    return knowledge, [updates[0] for updates in sent]


def of_all(
    channel: str, who: str, *colluders: int, weights: str = "equal", server: str = "step = 'fedavg'"
) -> tuple[Knowledge, list[dict[int, Tensor]]]:
    """Like `real`, with the updates that every client sent."""
    consent = (
        ("channel.reveal_counts=true",) if (channel, weights) == ("masked", "reported") else ()
    )
    scenario = parse_scenario(
        f"rounds = 3\ntraining.kind = 'sgd'\nweights = '{weights}'\nchannel.kind = '{channel}'\n"
        f"server = {{ {server} }}",
        overrides=consent,
    )
    with TemporaryDirectory() as ledgers:
        assembled = assemble(scenario, run="test", ledgers=Path(ledgers))
        sizes = {client: len(site.train) for client, site in enumerate(assembled.data.sites)}
        counts = client_weights(scenario.facts, sizes, reported=weights == "reported")
        watching = Watcher(
            THREATS[who],
            colluders,
            0,
            channel,
            weights_in_step(counts, scenario.facts),
            weights_in_sum(counts, scenario.facts.max_weight),
        )
        recorder = Recorder()
        watchers = Watchers([watching, recorder])
        sent, state = [], assembled.start
        for played in engine.run(assembled.federation, state, rounds=3, observer=watchers):
            watching.finish(played.record)
            own = [o for o in recorder.observations if o.kind == Seen.OWN_UPDATE]
            sent.append({o.about[0]: o.values for o in own if o.values is not None})
            recorder.observations.clear()
            state = played.state
    return watching.known(state.weights), sent


@pytest.mark.parametrize("weights", ["equal", "declared", "reported"])
@pytest.mark.parametrize("channel", ["plain", "masked", "ckks"])
def test_all_others_together_know_the_last_ones_update_under_every_channel(
    channel: str, weights: str
) -> None:
    knowledge, sent = real(channel, "clients", 1, 2, 3, weights=weights)
    assert len(knowledge.moves) == 3
    for sight, update in zip(knowledge.moves, sent, strict=True):
        assert sight.alone
        assert sight.moved is not None
        assert torch.allclose(sight.moved, update, atol=2e-5)


@pytest.mark.parametrize("server", ["step = 'fedadam'", "lr = 0.5"])
@pytest.mark.parametrize(("channel", "who"), [("masked", "server+clients"), ("ckks", "clients")])
def test_opened_sums_reveal_the_last_update_under_any_server_step(
    channel: str, who: str, server: str
) -> None:
    knowledge, sent = real(channel, who, 1, 2, 3, server=server)
    for sight, update in zip(knowledge.moves, sent, strict=True):
        assert sight.alone
        assert sight.moved is not None
        assert torch.allclose(sight.moved, update, atol=2e-5)


@pytest.mark.parametrize("weights", ["equal", "declared", "reported"])
@pytest.mark.parametrize(
    ("channel", "who", "colluders"),
    [
        ("plain", "server", ()),
        ("plain", "clients", (1,)),
        ("plain", "outsider-weights", ()),
        ("masked", "server", ()),
        ("masked", "network", ()),
        ("masked", "server+clients", (1, 2)),
        ("ckks", "clients", (3,)),
        ("ckks", "server+key-holder", (1,)),
    ],
)
def test_a_sight_is_the_sum_of_updates_by_how_much_each_counts(
    channel: str, who: str, colluders: tuple[int, ...], weights: str
) -> None:
    knowledge, sent = of_all(channel, who, *colluders, weights=weights)
    for sight, updates in zip(knowledge.moves, sent, strict=False):
        assert sight.moved is not None
        assert sight.counts is not None
        assert not set(colluders) & set(sight.counts)
        total = torch.zeros_like(updates[0])
        for client, count in sight.counts.items():
            total = total + count * updates[client]
        assert torch.allclose(sight.moved, total, atol=5e-5)
    assert len(knowledge.moves) == (0 if who == "outsider-weights" else 3)


def test_a_step_that_is_no_mean_counts_no_client() -> None:
    knowledge, _ = real("plain", "clients", 1, server="step = 'fedadam'")
    assert [sight.counts for sight in knowledge.moves] == [None] * 3
    assert not any(sight.alone for sight in knowledge.moves)


def test_fewer_than_all_others_do_not_know_the_last_ones_update() -> None:
    knowledge, sent = real("masked", "server+clients", 1, 2)
    assert not any(sight.alone for sight in knowledge.moves)
    assert all(
        sight.moved is not None and not torch.allclose(sight.moved, update, atol=1e-3)
        for sight, update in zip(knowledge.moves, sent, strict=True)
    )


def test_the_server_under_masks_moves_along_the_sum() -> None:
    knowledge, _ = real("masked", "server")
    assert len(knowledge.moves) == 3
    last = Sight(3, knowledge.final, None, alone=False)
    for sight, later in pairwise([*knowledge.sights, last]):
        assert sight.moved is not None
        assert sight.model is not None
        assert later.model is not None
        step = later.model - sight.model
        assert torch.allclose(sight.moved / sight.moved.norm(), step / step.norm(), atol=1e-4)


def test_watchers_keep_values_as_they_were_when_the_run_overwrites_them_later() -> None:
    kept: list[Observation] = []
    values = torch.ones(3)
    Watchers([SimpleNamespace(observe=kept.append)]).observe(
        Observation.of("server", Seen.SUM_OF_UPDATES, (0, 1), values)
    )
    values.zero_()
    assert kept[0].values is not None
    assert kept[0].values.tolist() == [1.0, 1.0, 1.0]
