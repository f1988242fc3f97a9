"""Names of cells."""

from securefl.runs.names import cell_hash
from securefl.scenario.scenario import parse_scenario


def test_a_cell_is_named_by_what_it_runs() -> None:
    one, same, other = (
        parse_scenario("seed = 1"),
        parse_scenario("seed = 1\nrounds = 20"),
        parse_scenario("seed = 2"),
    )
    names = [cell_hash(scenario.resolved()) for scenario in (one, same, other)]
    assert names[0] == names[1] != names[2]
    assert cell_hash(one.resolved(), code="abc") != names[0]
    more = one.resolved()
    more["data"] |= {"a_key_of_later": None}
    assert cell_hash(more) == names[0]
    more["data"] |= {"a_key_of_later": 0}
    assert cell_hash(more) != names[0]
