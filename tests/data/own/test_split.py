"""Which records train and which judge: coins of records and groups, never of positions."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.data.own.records import Records, Split, selected
from securefl.data.own.split import federated
from securefl.data.task import Examples, FederatedData, Task
from securefl.errors import DataError, ScenarioError

deterministic = settings(derandomize=True, max_examples=60, deadline=None, database=None)
SITES = ("a", "b", "c")
# A record as hypothesis draws it: content, label, site, group.
Row = tuple[int, int, int, int]
rows = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 2), st.integers(0, 4)),
    min_size=1,
    max_size=40,
)


def split_of(data: list[Row], *, sites: bool = True, groups: bool = False) -> Split:
    features = torch.tensor([[float(row[0])] for row in data]).reshape(-1, 1)
    labels = torch.tensor([row[1] for row in data], dtype=torch.int64)
    index = torch.tensor([row[2] for row in data], dtype=torch.int64)
    names = tuple(str(row[3]).encode() for row in data)
    return Split(Examples(features, labels), index if sites else None, names if groups else None)


def records_of(
    data: list[Row],
    *,
    sites: bool = True,
    groups: bool = False,
    names: tuple[str, ...] = SITES,
    validation: Split | None = None,
    test: Split | None = None,
) -> Records:
    train = split_of(data, sites=sites, groups=groups)
    return Records(Task(1, 3), names if sites else (), train, validation, test)


def play(records: Records, **options: Any) -> FederatedData:
    usual = {
        "partition": "natural",
        "split_seed": 0,
        "test_share": 0.4,
        "test_on": None,
        "fold": None,
        "claim": True,
    }
    return federated(records, **{**usual, **options})


def bag(examples: Examples | None) -> Counter[tuple[float, int]]:
    assert examples is not None
    pairs = zip(examples.features[:, 0].tolist(), examples.labels.tolist(), strict=True)
    return Counter(pairs)


def bags(data: FederatedData) -> dict[tuple[str, str], Counter[tuple[float, int]]]:
    """Returns what each site trains on and what it is judged on."""
    held = {("train", site.name): bag(site.train) for site in data.sites}
    held |= {("test", site.name): bag(site.test) for site in data.sites if site.test is not None}
    return held


KINDS = [
    {"test_on": None},
    {"test_on": "validation"},
    {"test_on": "validation", "fold": 3},
    {"partition": "pooled"},
]


@deterministic
@given(data=rows, place=st.integers(0, 39), kind=st.sampled_from(KINDS), groups=st.booleans())
def test_removing_one_record_moves_no_other(
    data: list[Row], place: int, kind: dict[str, Any], groups: bool
) -> None:
    place %= len(data)
    fewer = data[:place] + data[place + 1 :]
    whole = bags(play(records_of(data, groups=groups), **kind))
    rest = bags(play(records_of(fewer, groups=groups), **kind))
    assert whole.keys() == rest.keys()
    # Of all training and test records, the removed one is missing from at most one bag.
    gone = Counter[tuple[float, int]]()
    for name, content in whole.items():
        assert not rest[name] - content
        gone += content - rest[name]
    assert gone in (Counter(), Counter([(float(data[place][0]), data[place][1])]))


@deterministic
@given(data=rows, seed=st.integers(0, 99))
def test_the_order_of_the_file_and_other_sites_decide_nothing(data: list[Row], seed: int) -> None:
    played = bags(play(records_of(data), split_seed=seed))
    assert bags(play(records_of(data[::-1]), split_seed=seed)) == played
    # Derived names: a site that is gone renumbers those after it.
    fewer = [(row[0], row[1], row[2] - 1, row[3]) for row in data if row[2] > 0]
    alone = play(records_of(fewer, names=("b", "c")), split_seed=seed)
    assert bags(alone) == {name: held for name, held in played.items() if name[1] != "a"}


@deterministic
@given(data=rows, seed=st.integers(0, 99), kind=st.sampled_from(KINDS))
def test_no_group_is_on_both_sides_also_across_sites(
    data: list[Row], seed: int, kind: dict[str, Any]
) -> None:
    # The content names the group, so that it can be found again.
    named = [(row[3], row[1], row[2], row[3]) for row in data]
    played = play(records_of(named, groups=True), split_seed=seed, **kind)
    trained = {content for site in played.sites for content, _ in bag(site.train)}
    assert not trained & {content for content, _ in bag(played.test)}


@deterministic
@given(data=rows, seed=st.integers(0, 9), sites=st.booleans(), groups=st.booleans())
def test_every_record_is_somewhere_and_the_folds_are_disjoint(
    data: list[Row], seed: int, sites: bool, groups: bool
) -> None:
    records = records_of(data, sites=sites, groups=groups)
    options: dict[str, Any] = {"split_seed": seed, "partition": "natural" if sites else "pooled"}
    played = play(records, **options)
    trained = sum((bag(site.train) for site in played.sites), Counter())
    assert trained + bag(played.test) == bag(records.train.examples)
    folds = [play(records, **options, test_on="validation", fold=fold) for fold in range(4)]
    judged = sum((bag(fold.test) for fold in folds), Counter())
    # The four quarters are the training records; the test records are in none of them.
    assert judged == trained
    for fold in folds:
        rest = sum((bag(site.train) for site in fold.sites), Counter())
        assert rest + bag(fold.test) == trained
    assert bags(play(records, **options, test_on="validation")) == bags(folds[0])


def test_shares_are_as_declared() -> None:
    # 40,000 different records: three standard deviations are 0.007 and 0.008.
    features = torch.arange(40_000.0).reshape(-1, 1)
    split = Split(Examples(features, torch.zeros(40_000, dtype=torch.int64)), None, None)
    records = Records(Task(1, 3), (), split, None, None)
    played = play(records, test_share=0.3, partition="pooled")
    assert len(played.test) / 40_000 == pytest.approx(0.3, abs=0.007)
    folded = play(records, test_share=0.3, partition="pooled", test_on="validation")
    assert len(folded.test) / len(played.sites[0].train) == pytest.approx(0.25, abs=0.008)
    other = play(records, test_share=0.3, partition="pooled", split_seed=1)
    assert bag(other.test) != bag(played.test)
    many = split._replace(groups=tuple(str(index).encode() for index in range(40_000)))
    grouped = play(Records(Task(1, 3), (), many, None, None), test_share=0.3, partition="pooled")
    assert len(grouped.test) / 40_000 == pytest.approx(0.3, abs=0.007)


KNOWN: list[tuple[dict[str, bool], dict[str, Any], list[int]]] = [
    ({}, {}, [3, 5, 6, 7, 8, 10, 11]),
    ({}, {"test_on": "validation", "fold": 2}, [4]),
    ({"sites": False}, {"partition": "pooled"}, [3, 6, 7, 8, 9]),
    # SHA-256 of the stream's 32 bytes and the digits: its first 8 bytes, little-endian, are below
    # 0.4 x 2^64; or else its next 8 bytes are 2 modulo 4.
    ({"groups": True}, {}, [0, 1, 3, 4, 7, 9, 11]),
    ({"groups": True}, {"test_on": "validation", "fold": 2}, [6, 10]),
]


@pytest.mark.parametrize(("form", "options", "judging"), KNOWN)
def test_known_answer_of_the_coins(
    form: dict[str, bool], options: dict[str, Any], judging: list[int]
) -> None:
    # Another answer would silently change what every split_seed means.
    data: list[Row] = [(index, 0, index % 3, index) for index in range(12)]
    played = play(records_of(data, **form), split_seed=5, **options)  # type: ignore[arg-type]
    assert sorted(played.test.features[:, 0].int().tolist()) == judging


def test_a_sites_test_records_are_its_own_and_pooling_keeps_the_sides() -> None:
    data = [(index, index % 3, index % 2, 0) for index in range(40)]
    natural = play(records_of(data))
    assert [site.name for site in natural.sites] == ["a", "b", "c"]
    for index, site in enumerate(natural.sites):
        own = {float(row[0]) for row in data if row[2] == index}
        assert site.test is not None
        assert {*site.train.features[:, 0].tolist(), *site.test.features[:, 0].tolist()} == own
    assert len(natural.sites[2].train) == 0
    assert bag(natural.test) == sum((bag(site.test) for site in natural.sites), Counter())
    pooled = play(records_of(data), partition="pooled")
    assert bag(pooled.test) == bag(natural.test)
    assert [site.test for site in pooled.sites] == [None]
    assert pooled.sites[0].name == "pooled"


def test_published_test_records_judge_at_their_sites_or_for_all() -> None:
    data: list[Row] = [(1, 0, 0, 0), (2, 1, 1, 0), (3, 2, 0, 0)]
    test = split_of([(7, 0, 1, 9), (8, 1, 0, 9), (9, 1, 1, 9)])
    own = play(records_of(data, test=test, names=("a", "b")), test_share=None)
    assert [site.train.features[:, 0].tolist() for site in own.sites] == [[1, 3], [2]]
    tests = [site.test for site in own.sites]
    assert [test.features[:, 0].tolist() for test in tests if test is not None] == [[8], [7, 9]]
    assert own.test.features[:, 0].tolist() == [8, 7, 9]
    bare = split_of([(7, 0, 1, 9)], sites=False)
    common = play(records_of(data, test=bare, names=("a", "b")), test_share=None)
    assert [site.test for site in common.sites] == [None, None]
    assert common.test.features[:, 0].tolist() == [7]
    # Validation takes a quarter of the training records and no test record.
    tuned = play(records_of(data, test=test), test_share=None, test_on="validation")
    assert not {7.0, 8.0, 9.0} & {content for content, _ in bag(tuned.test)}


def test_published_validation_records_judge_and_every_training_record_trains() -> None:
    data: list[Row] = [(index, 0, 0, 0) for index in range(10)]
    records = records_of(data, validation=split_of([(77, 1, 0, 5)]))
    tuned = play(records, test_on="validation")
    assert tuned.test.features[:, 0].tolist() == [77]
    # The same records train as in the run that is judged on test records.
    assert bag(tuned.sites[0].train) == bag(play(records).sites[0].train)
    assert 0 < len(tuned.sites[0].train) < 10
    with_test = records_of(
        data, validation=split_of([(77, 1, 0, 5)]), test=split_of([(88, 1, 0, 5)])
    )
    assert len(play(with_test, test_share=None, test_on="validation").sites[0].train) == 10
    with pytest.raises(ScenarioError, match=r"data\.fold has no effect: .* validation records"):
        play(records, test_on="validation", fold=1)


def test_keys_that_do_not_fit_the_records_are_refused() -> None:
    data: list[Row] = [(1, 0, 0, 0)]
    with pytest.raises(ScenarioError, match=r"no test records: set data\.test_share"):
        play(records_of(data), test_share=None)
    with pytest.raises(ScenarioError, match=r"data\.test_share has no effect: the data have test"):
        play(records_of(data, test=split_of(data)))
    with pytest.raises(ScenarioError, match="'natural' needs records that bear sites; choose ano"):
        play(records_of(data, sites=False))


def test_nothing_judges_is_refused_without_a_claim_only() -> None:
    data: list[Row] = [(1, 0, 0, 0)]
    seed = next(s for s in range(9) if not len(play(records_of(data), split_seed=s).test))
    with pytest.raises(DataError, match=r"no record judges: raise data\.test_share"):
        play(records_of(data), split_seed=seed, claim=False)


def test_a_published_group_on_both_sides_is_refused_without_a_claim_only() -> None:
    data: list[Row] = [(1, 0, 0, 3), (2, 0, 1, 4)]
    test = split_of([(3, 0, 0, 4)], groups=True)
    records = records_of(data, groups=True, test=test)
    with pytest.raises(DataError, match="the group '4' has training records and records that jud"):
        play(records, test_share=None, claim=False)
    assert len(play(records, test_share=None).test) == 1
    bare = records_of(data, groups=True, test=split_of([(3, 0, 0, 4)]))
    assert len(play(bare, test_share=None, claim=False).test) == 1


def test_records_are_selected_with_their_sites_and_groups() -> None:
    split = split_of([(1, 0, 2, 3), (2, 1, 1, 4), (3, 2, 0, 5)], groups=True)
    chosen = selected(split, torch.tensor([True, False, True]))
    assert chosen.examples.features[:, 0].tolist() == [1, 3]
    assert chosen.examples.labels.tolist() == [0, 2]
    assert chosen.sites is not None
    assert chosen.sites.tolist() == [2, 0]
    assert chosen.groups == (b"3", b"5")
