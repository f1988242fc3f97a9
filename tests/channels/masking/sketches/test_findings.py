"""What a server keeps of the liars that rounds have found."""

import pytest

from securefl.channels.masking.sketches.choosing import Suspects
from securefl.channels.masking.sketches.conflicts import CONTRADICTED, MISFIT, SILENT
from securefl.channels.masking.sketches.findings import Findings
from tests.channels.masking.sketches.parties import sketch_terms


def test_before_any_round_nobody_is_suspect_and_all_f_may_lie() -> None:
    findings = Findings()
    assert (dict(findings.named), findings.paired) == ({}, ())
    assert findings.suspects(sketch_terms(9, corrupt=2, liars=2)) == Suspects(2)


def test_findings_of_later_rounds_join_those_of_earlier_ones() -> None:
    findings = Findings()
    findings.add({4: MISFIT}, ((0, 3),))
    findings.add({7: SILENT})
    findings.add({}, ((1, 5),))
    assert dict(findings.named) == {4: MISFIT, 7: SILENT}
    assert findings.paired == ((0, 3), (1, 5))


def test_a_pair_that_is_found_again_uses_up_one_liar_only() -> None:
    # As when a run is resumed whose records and server both tell of it, or a record tells it twice.
    findings = Findings()
    findings.add({}, ((1, 5),))
    findings.add({}, iter([(1, 5), (2, 6), (2, 6)]))
    assert findings.paired == ((1, 5), (2, 6))
    assert findings.suspects(sketch_terms(12, liars=4)).liars == 2


def test_of_a_pair_whose_liar_was_named_later_the_other_client_is_free() -> None:
    findings = Findings()
    findings.add({}, ((1, 5),))
    findings.add({5: CONTRADICTED})
    terms = sketch_terms(12, liars=4)
    assert findings.suspects(terms) == Suspects(3, {5: CONTRADICTED}, ())
    assert findings.paired == ((1, 5),)


def test_nobody_else_changes_what_was_found() -> None:
    findings = Findings()
    given = {4: MISFIT}
    findings.add(given)
    given[5] = MISFIT
    assert dict(findings.named) == {4: MISFIT}
    with pytest.raises(TypeError, match="does not support item assignment"):
        findings.named[6] = MISFIT  # type: ignore[index]
