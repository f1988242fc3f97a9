"""The terms of a ledger: whom the noise of a place holds against, and how lines record it."""

import pytest

from securefl.privacy.terms import (
    LOCAL,
    Place,
    Terms,
    names_no_opener,
    place_called,
    place_in,
    places_in,
    uncovering,
)

ONE, FOUR, CENTRAL = Place("distributed", 1), Place("distributed", 4), Place("central")
KEYS = Place("central", opener="key holders")
TERMS = Terms("example", "add_remove", 1e-5, 8.0)


@pytest.mark.parametrize("place", [LOCAL, ONE, FOUR, CENTRAL, KEYS], ids=str)
def test_local_noise_covers_every_claim_and_each_place_covers_its_own(place: Place) -> None:
    assert LOCAL.covers(place)
    assert place.covers(place)
    assert place.covers(LOCAL) is (place == LOCAL)


def test_shares_against_more_corrupt_clients_cover_a_claim_against_fewer() -> None:
    assert FOUR.covers(ONE)
    assert not ONE.covers(FOUR)


def test_shares_and_central_noise_do_not_cover_each_other() -> None:
    # The server sees through central noise, and five clients through shares against four.
    assert not CENTRAL.covers(ONE)
    assert not FOUR.covers(CENTRAL)


def test_central_noise_of_two_openers_covers_neither_claim() -> None:
    # The claim of a sum that key holders open names the server, and the other way round.
    assert not CENTRAL.covers(KEYS)
    assert not KEYS.covers(CENTRAL)


def test_terms_from_before_openers_were_recorded_count_the_server_as_opener() -> None:
    old = {**TERMS.to_json(), "place": ["central", 0]}
    assert place_in(old) == CENTRAL
    assert place_in(old, "key holders") == KEYS
    assert names_no_opener(old)
    for place in (LOCAL, ONE, CENTRAL, KEYS):
        terms = TERMS._replace(place=place).to_json()
        assert not names_no_opener(terms)
        assert place_in(terms, "key holders") == place


def test_a_claim_about_several_runs_needs_each_of_them_to_cover_it() -> None:
    assert uncovering([LOCAL, FOUR, ONE], ONE) is None
    assert uncovering([LOCAL, FOUR, ONE], FOUR) == ONE
    assert uncovering([], LOCAL) is None


def test_terms_with_local_noise_are_recorded_as_before_there_were_other_places() -> None:
    plain = {
        "unit": "example",
        "neighbours": "add_remove",
        "delta": 1e-5,
        "budget": 8.0,
        "noise": "system",
    }
    assert TERMS.to_json() == plain
    assert place_in(plain) == LOCAL
    assert TERMS._replace(place=FOUR).to_json() == {**plain, "place": ["distributed", 4]}


@pytest.mark.parametrize("place", [LOCAL, ONE, FOUR, CENTRAL, KEYS], ids=str)
def test_a_recorded_place_is_read_back(place: Place) -> None:
    assert place_in(TERMS._replace(place=place).to_json()) == place


def test_lines_name_each_place_once_and_in_order() -> None:
    lines = [{"terms": {"place": list(place)}} for place in (ONE, CENTRAL, ONE)]
    assert places_in([{"terms": {"unit": "example"}}, {}, *lines]) == (LOCAL, ONE, CENTRAL)
    assert places_in([]) == ()


def test_the_number_of_corrupt_clients_counts_for_shares_alone() -> None:
    assert place_called("central", 3) == CENTRAL
    assert place_called("local", 3) == LOCAL
    assert place_called("distributed", 4) == FOUR


def test_the_opener_counts_for_central_noise_alone() -> None:
    assert place_called("central", None, "key holders") == KEYS
    assert place_called("local", None, "key holders") == LOCAL
    assert place_called("distributed", 4, "key holders") == FOUR
    with pytest.raises(ValueError, match="nobody who opens sums is called 'moon'"):
        place_called("central", None, "moon")


@pytest.mark.parametrize(
    ("name", "corrupt"), [("moon", 1), ("distributed", None), ("distributed", 0), (3, 1)]
)
def test_a_place_that_is_none_is_refused(name: str, corrupt: int | None) -> None:
    with pytest.raises(ValueError, match=f"there is no place {name!r} of noise with corrupt"):
        place_called(name, corrupt)


def test_a_place_is_named_by_the_keys_that_declare_it() -> None:
    assert str(FOUR) == "privacy.place = 'distributed' and channel.corrupt = 4"
    assert str(CENTRAL) == "privacy.place = 'central' (sums opened by the server)"
    assert str(KEYS) == "privacy.place = 'central' (sums opened by the key holders)"
