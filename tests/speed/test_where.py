"""The shares of a round: of everything, the longest first."""

from benchmarks.speed.where import lines_of, shares


def test_shares_are_of_everything_also_where_few_parts_are_shown() -> None:
    lines = list(shares("A", {"rule": 0.001, "train": 0.0072, "step": 0.0018}, most=2))
    assert [line.split() for line in lines] == [
        ["A:", "10.0", "ms", "a", "round"],
        ["train", "7.2", "ms", "72.0%"],
        ["step", "1.8", "ms", "18.0%"],
    ]


def test_a_round_is_told_by_stages_and_by_operators() -> None:
    lines = list(lines_of("Bm", rounds=1))
    parts = [line.split()[0] for line in lines]
    assert parts[:2] == ["Bm:", "train"]
    assert {"rule", "evaluate"} < set(parts)
    assert "aten::bmm" in parts[parts.index("Bm,") :]
