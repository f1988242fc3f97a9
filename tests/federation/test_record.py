"""A round's record comes back from its line with its types, or is refused."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from securefl.federation.record import RoundRecord

RECORD = RoundRecord(
    round=3,
    abandoned=False,
    reason="",
    cohort=(0, 1, 2),
    survivors=(0, 2),
    absent={1: "dropped"},
    screened=(2,),
    rejected=1,
    bytes_up=10,
    bytes_down=20,
    accuracy=0.5,
    ledger_heads={0: "ab", 2: "cd"},
    seconds=0.25,
    push=1.5,
    distrusted=(0,),
)
# Keys that a folder of an earlier version, or of another kind of run, does not have.
OPTIONAL = {"push", "distrusted", "rmse", "evaluated", "worst", "consensus", "clock", "auc"}
OF_CHOICE = {"left_out", "named", "paired"}
OPTIONAL |= OF_CHOICE | {"groups", "rank"}


def line(**changes: object) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(json.dumps(asdict(RECORD)))
    return written | changes


def test_a_record_comes_back_from_its_line() -> None:
    assert RoundRecord.from_json(line()) == RECORD


def test_a_record_of_an_abandoned_round_without_an_attack_comes_back() -> None:
    changes: dict[str, Any] = {"push": None, "distrusted": None, "accuracy": None}
    read = RoundRecord.from_json(line(abandoned=True, reason="too few", **changes))
    assert read.abandoned is True
    assert (read.push, read.distrusted, read.accuracy) == (None, None, None)


def test_folders_from_before_push_and_distrusted_are_read() -> None:
    old = line()
    del old["push"], old["distrusted"]
    read = RoundRecord.from_json(old)
    assert (read.push, read.distrusted) == (None, None)
    assert read.ledger_heads == RECORD.ledger_heads


def test_a_key_of_a_later_version_is_ignored() -> None:
    assert RoundRecord.from_json(line(carried=7)) == RECORD


def test_the_line_of_a_round_says_when_nobody_evaluated_it() -> None:
    assert "evaluated" not in RECORD.to_json()
    skipped = replace(RECORD, accuracy=None, evaluated=False)
    written = json.loads(json.dumps(skipped.to_json()))
    assert (written["evaluated"], written["accuracy"]) == (False, None)
    assert RoundRecord.from_json(written) == skipped


@pytest.mark.parametrize("wrong", ["no", 2, 0, None])
def test_whether_a_round_was_evaluated_is_yes_or_no(wrong: object) -> None:
    with pytest.raises(ValueError, match=f"{wrong!r} for a yes or no"):
        RoundRecord.from_json(line(evaluated=wrong))


@pytest.mark.parametrize("quality", ["accuracy", "rmse", "auc"])
def test_a_round_that_nobody_evaluated_has_no_quality(quality: str) -> None:
    skipped = {"accuracy": None, "rmse": None, "evaluated": False}
    with pytest.raises(ValueError, match="says that nobody evaluated it"):
        RoundRecord.from_json(line(**{**skipped, quality: 0.5}))


@pytest.mark.parametrize("key", sorted({*asdict(RECORD)} - OPTIONAL))
def test_a_missing_key_is_named(key: str) -> None:
    cut = line()
    del cut[key]
    with pytest.raises(ValueError, match=f"a round's record has no '{key}'"):
        RoundRecord.from_json(cut)


@pytest.mark.parametrize("key", sorted(asdict(RECORD)))
def test_a_value_of_another_kind_is_refused(key: str) -> None:
    wrong = 7 if key == "reason" else "seven"
    with pytest.raises(ValueError, match=f"a round's record has {wrong!r} for a"):
        RoundRecord.from_json(line(**{key: wrong}))


@pytest.mark.parametrize(
    ("key", "wrong"),
    [("cohort", ["a"]), ("absent", {"1": 2}), ("absent", {"x": "y"}), ("screened", {"1": 2})],
)
def test_a_wrong_client_is_refused(key: str, wrong: object) -> None:
    with pytest.raises(ValueError, match="a round's record has"):
        RoundRecord.from_json(line(**{key: wrong}))


def test_only_a_regression_writes_an_rmse() -> None:
    assert "rmse" not in RECORD.to_json()
    absent = dict.fromkeys(("rmse", "worst", "consensus", "clock", "rank", "auc"))
    empty: dict[str, Any] = {**dict.fromkeys(("left_out", "paired", "groups"), ()), "named": {}}
    assert {**RECORD.to_json(), **absent, **empty, "evaluated": True} == asdict(RECORD)
    regression = replace(RECORD, accuracy=None, rmse=2.5)
    written = json.loads(json.dumps(regression.to_json()))
    assert written["rmse"] == 2.5
    assert RoundRecord.from_json(written) == regression
    with pytest.raises(ValueError, match="'much' for a number"):
        RoundRecord.from_json(line(rmse="much"))


def test_a_round_keeps_the_auc_of_its_model_where_it_was_measured() -> None:
    assert "auc" not in RECORD.to_json()
    measured = replace(RECORD, auc=0.75)
    written = json.loads(json.dumps(measured.to_json()))
    assert written["auc"] == 0.75
    assert RoundRecord.from_json(written) == measured


def test_a_round_of_several_models_on_a_clock_comes_back() -> None:
    several = replace(RECORD, worst=0.25, consensus=1.5, clock=7)
    written = json.loads(json.dumps(several.to_json()))
    assert (written["worst"], written["consensus"], written["clock"]) == (0.25, 1.5, 7)
    assert RoundRecord.from_json(written) == several


def test_a_round_of_groups_comes_back_and_other_rounds_write_none() -> None:
    assert not {"groups", "rank"} & RECORD.to_json().keys()
    grouped = replace(RECORD, groups=((0, 2), (1,)), rank=2)
    written = json.loads(json.dumps(grouped.to_json()))
    assert (written["groups"], written["rank"]) == ([[0, 2], [1]], 2)
    assert RoundRecord.from_json(written) == grouped


@pytest.mark.parametrize("wrong", [[["a"]], [1, 2], {"1": [2]}])
def test_a_wrong_group_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="a round's record has"):
        RoundRecord.from_json(line(groups=wrong))


def test_a_round_whose_clients_were_chosen_comes_back() -> None:
    assert not OF_CHOICE & set(RECORD.to_json())
    chosen = replace(RECORD, left_out=(1, 4), named={4: "lied"}, paired=((0, 2), (1, 3)))
    written = json.loads(json.dumps(chosen.to_json()))
    assert written["left_out"] == [1, 4]
    assert written["named"] == {"4": "lied"}
    assert written["paired"] == [[0, 2], [1, 3]]
    assert RoundRecord.from_json(written) == chosen


@pytest.mark.parametrize("wrong", [[[1]], [[1, 2, 3]], [1, 2], {"1": 2}, [["a", "b"]]])
def test_a_pair_of_clients_is_two_of_them(wrong: object) -> None:
    with pytest.raises(ValueError, match="a round's record has"):
        RoundRecord.from_json(line(paired=wrong))
