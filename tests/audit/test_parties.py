"""The table of all parties: a row an attack, a column an adversary, the worst verdict last."""

from pathlib import Path

from securefl.audit.exposure.result import Exposure
from securefl.audit.findings import Findings
from securefl.audit.lines import Line, Verdict
from securefl.audit.parties import party_lines
from securefl.audit.verdicts import overall

IMAGE = Exposure("Inverting Gradients", "of one", "dB", 35.1, 18.2)
UNSEEN = Exposure("Inverting Gradients", "not tried")


def lira(auc: float | None, verdict: Verdict) -> Line:
    return Line("LiRA", verdict, "why", auc=auc, auc_error=None if auc is None else 0.01)


def findings(*lines: Line, exposures: tuple[Exposure, ...] = ()) -> Findings:
    file = Path("kept") / "audit.json"
    return Findings(file, "", "a claim", overall(lines), lines, exposures, ())


def test_the_table_has_a_column_a_party_and_its_worst_verdict_last() -> None:
    noise = Line("size of the noise", Verdict.HOLDS, "as booked")
    lines = party_lines(
        {
            "server+key-holder": findings(lira(0.6, Verdict.UNDECIDED), noise, exposures=(IMAGE,)),
            "network": findings(lira(0.9, Verdict.VIOLATED), exposures=(IMAGE,)),
            "outsider": findings(lira(0.51, Verdict.UNDECIDED), exposures=(UNSEEN,)),
        }
    )
    assert list(lines) == [
        "finding: server+key-holder, network: Inverting Gradients: 35.1 dB, by guessing 18.2 dB",
        "finding: server+key-holder: membership by LiRA: AUC 0.600 ± 0.010, by guessing .5",
        "finding: network: membership by LiRA: AUC 0.900 ± 0.010, by guessing .5",
        "claim: a claim",
        "attack               server+     network    outsider",
        "                     key-holder",
        "LiRA                 0.600 *     violated   0.510",
        "size of the noise    holds",
        "Inverting Gradients  35.1 dB *   35.1 dB *",
        "* better than guessing beyond its error; attacks on membership are shown by their AUC, "
        "of which guessing has .5; an empty cell is an attack that this party cannot run",
        "what an attack does not find here is no evidence for an epsilon: "
        "another attack may find it",
        "cannot tell: nothing is refuted, and the measurement leaves room for a fault "
        "(server+key-holder, outsider)",
        "violated: a true claim would give this in fewer than one audit in a thousand (network)",
        "verdict: violated: a true claim would give this in fewer than one audit in a thousand; "
        "written to kept",
    ]


def test_without_a_claim_and_without_a_finding_the_table_says_so() -> None:
    chance = lira(0.5, Verdict.UNCLAIMED)
    lines = list(party_lines({"server": findings(chance), "network": findings(chance)}))
    assert lines[0] == "finding: nothing beyond guessing by these attacks"
    assert lines[-1] == "verdict: no claim: nothing was promised; written to kept"
    assert not any(line.startswith("no claim") for line in lines)
