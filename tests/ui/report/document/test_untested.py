"""What was not tested: every attack is either measured or listed, with the audit's own reason."""

from dataclasses import replace
from pathlib import Path

from securefl.audit.exposure.exposures import NO_SIGHT
from securefl.audit.exposure.result import Exposure
from securefl.audit.lines import Line, Verdict
from securefl.audit.repertoire import (
    BLIND,
    BOOKS,
    CANARIES,
    FIRST_LAYER,
    FIXED_FEATURES,
    IMPRINT,
    INSIDE,
    INVERTING,
    LABELS,
    LIRA,
    LOSS_THRESHOLD,
    OFFLINE_LIRA,
    PROPERTY,
    RECONSTRUCTION,
    REPERTOIRE,
    SOURCE,
    SUM_NOISE,
)
from securefl.ui.report.document.untested import (
    DECLINED,
    HONEST,
    NO_CLAIM,
    limits,
    unasked_adversaries,
    untested_attacks,
)
from tests.ui.report.document.subjects import (
    CHANCE,
    LABELS_SHOWN,
    OPEN,
    REFUTED,
    UNRUN,
    UNSEEN,
    UNTRIED,
    by,
    findings_of,
)


def reasons(
    *lines: Line, exposures: tuple[Exposure, ...] = (), claimed: bool = True
) -> dict[str, str]:
    verdict = Verdict.UNDECIDED if claimed else Verdict.UNCLAIMED
    findings = findings_of(Path("f"), *lines, exposures=exposures, verdict=verdict)
    return {one.name: one.why for one in untested_attacks(findings)}


def test_without_any_result_everything_is_listed_once() -> None:
    names = [attack.names[0] for attack in REPERTOIRE]
    assert list(reasons()) == names
    assert len(set(names)) == len(names)


def test_an_attack_that_was_measured_is_not_listed() -> None:
    left = reasons(CHANCE, REFUTED, exposures=(LABELS_SHOWN,))
    assert not {LOSS_THRESHOLD, CANARIES, SOURCE} & set(left)
    assert LIRA in left


def test_offline_lira_does_not_stand_for_lira() -> None:
    left = reasons(replace(CHANCE, attack=OFFLINE_LIRA))
    assert LIRA in left
    assert OFFLINE_LIRA not in left


def test_a_property_of_the_training_that_was_decided_stands_for_the_look_inside() -> None:
    assert INSIDE not in reasons(Line(BOOKS, Verdict.HOLDS, "w"))
    assert reasons(UNSEEN)[INSIDE] == "no update is seen by itself"


def test_the_audits_own_reason_comes_first() -> None:
    left = reasons(UNRUN, exposures=(UNTRIED,))
    assert left[CANARIES] == "the model is too small"
    assert left[IMPRINT] == "the clients hold the model"
    assert left[LIRA].startswith("it needs answers of the run's final model, and rehearsals")
    assert left[SUM_NOISE].startswith("it needs a claim by one clipped sum")


def test_one_line_can_stand_for_several_attacks() -> None:
    left = reasons(Line(BLIND, Verdict.UNDECIDED, "blind"), exposures=(NO_SIGHT,))
    assert {left[name] for name in (LOSS_THRESHOLD, LIRA, CANARIES, INSIDE)} == {"blind"}
    assert {left[name] for name in (INVERTING, FIRST_LAYER, LABELS, SOURCE)} == {NO_SIGHT.why}
    still = (Exposure(RECONSTRUCTION, "still"), Exposure(LABELS, "still"))
    left = reasons(exposures=still)
    assert {left[name] for name in (INVERTING, FIRST_LAYER, LABELS, PROPERTY)} == {"still"}
    assert left[IMPRINT].startswith("it needs an adversary that chooses the model")


def test_another_name_of_an_attack_counts() -> None:
    assert FIRST_LAYER not in reasons(
        exposures=(Exposure(FIXED_FEATURES, "w", "dB", 20.0, 10.0, error=1.0),)
    )


def test_checks_of_a_claim_are_left_out_without_one_and_exposures_where_declined() -> None:
    left = reasons(OPEN, claimed=False)
    assert left[CANARIES] == left[INSIDE] == left[SUM_NOISE] == NO_CLAIM
    assert left[INVERTING] == left[SOURCE] == DECLINED


def test_adversaries_are_unasked_unless_an_audit_of_the_same_scenario_and_target_is_there() -> None:
    folder = Path("f")
    server = findings_of(folder, CHANCE)
    clients = findings_of(folder, CHANCE, scope=by("clients"))
    unasked = unasked_adversaries(server, [server])
    assert [(one.name, one.why) for one in unasked] == [
        ("clients", "no audit of this party lies in this folder"),
        ("network", "it sees distances"),
    ]
    assert [one.name for one in unasked_adversaries(server, [server, clients])] == ["network"]
    for change in ({"cell": "another"}, {"target": 1}):
        other = findings_of(folder, CHANCE, scope=replace(by("clients"), **change))
        assert len(unasked_adversaries(server, [server, other])) == 2


def test_an_older_audit_does_not_know_who_else_could_look() -> None:
    older = findings_of(Path("f"), CHANCE, scope=None)
    assert unasked_adversaries(older, [older]) == []


def test_what_no_audit_shows_is_always_said() -> None:
    sentences = limits(findings_of(Path("f"), CHANCE))
    assert sentences[0] == HONEST
    assert any("better attacks" in sentence for sentence in sentences)
    assert any("lower bound" in sentence for sentence in sentences)
