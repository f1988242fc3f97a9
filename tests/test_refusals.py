"""Nothing that a client says, or leaves unsaid, depends on its records or on an opened sum.

The list in docs/refusals.md is compared with the code: every sentence with which code on a client's
side can refuse, and what the refusal depends on. The attack behind the list is played here, too:
weights, the same for all clients, with which training overflows for some records only.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from securefl.channels.protocol import Seen
from securefl.federation import engine
from securefl.federation.values import Played
from securefl.scenario.assemble.assemble import Assembled, assemble
from securefl.scenario.scenario import parse_scenario
from tests.paths import ROOT
from tests.recorder import Recorder

PAGE = ROOT / "docs/refusals.md"
CLIENT_SIDE = (
    "channels/**/*.py",
    "learning/*.py",
    "federation/client.py",
    "federation/reader.py",
    "privacy/ledger.py",
    "privacy/chain.py",
    "privacy/noise/*.py",
    "rng.py",
    "vector.py",
)
SERVER_SIDE = {
    "channels/rows.py",
    "channels/masking/sketches/account.py",
    "channels/masking/sketches/choosing.py",
    "channels/masking/sketches/dealings.py",
    "channels/masking/sketches/decoding.py",
    "channels/masking/sketches/inquiry.py",
    "channels/masking/sketches/measuring.py",
    "channels/masking/sketches/selecting.py",
    "channels/ckks/server.py",
    "channels/masking/server.py",
    "channels/masking/block.py",
    "channels/masking/unmasking.py",
    "channels/masking/sketches/rehearsal.py",
    "channels/masking/sketches/conflicts.py",
    "channels/masking/sketches/judging.py",
    "learning/steps.py",
    "learning/evaluate.py",
}
# Run on synthetic records, while a scenario is checked and before there is a session.
BEFORE_A_SESSION = {
    "learning/own_models.py",
    "learning/neighbours.py",
    "learning/site_effect.py",
}
MAY_DEPEND_ON = {"message", "order", "terms", "model", "ledger", "disk", "code"}

HEART = """
seed = 3
rounds = 2
data = { name = "heart", partition = "natural" }
training = { kind = "sgd", batch = 64, epochs = 1, lr = 1.0 }
weights = "equal"
"""


def sentence(node: ast.expr, constants: dict[str, ast.expr]) -> str:
    """Returns the text of a message in the code, with an ellipsis for each value in it."""
    if isinstance(node, ast.Name) and node.id in constants:
        return sentence(constants[node.id], {})
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    return "…"


def refusals() -> Iterator[tuple[str, str]]:
    """Yields file and sentence of every refusal in the code of a client's side."""
    for pattern in CLIENT_SIDE:
        for source in sorted((ROOT / "securefl").glob(pattern)):
            name = source.relative_to(ROOT / "securefl").as_posix()
            if name in SERVER_SIDE | BEFORE_A_SESSION:
                continue
            tree = ast.parse(source.read_text(encoding="utf-8"))
            constants = {
                target.id: node.value
                for node in tree.body
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    yield name, sentence(node.exc.args[0], constants)


def listed() -> dict[tuple[str, str], str]:
    """Returns file and sentence of every line of the page, and the stated dependence."""
    rows = re.findall(
        r"^\| `([\w/.]+)` \| (.+?) \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {(name, text.replace("\\|", "|")): why for name, text, why in rows}


def test_the_page_lists_every_refusal_of_a_client_and_no_other() -> None:
    assert sorted(set(refusals()) ^ set(listed())) == []


def test_no_refusal_depends_on_a_record_or_on_an_opened_sum() -> None:
    assert len(listed()) > 80
    words = {word for why in listed().values() for word in why.split(", ")}
    assert words <= MAY_DEPEND_ON


def outline(played: Played) -> dict[str, object]:
    """Returns what a server can see of a round: participants, absences, reasons, sizes."""
    record = played.record
    return {
        "survivors": record.survivors,
        "absent": dict(record.absent),
        "rejected": record.rejected,
        "reason": record.reason,
        "bytes": (record.bytes_up, record.bytes_down),
        "seen": sorted(
            (o.kind, o.about, o.shape, o.size) for o in played.observed if o.party == "server"
        ),
    }


def overflowing(assembled: Assembled) -> torch.Tensor:
    """Returns weights with which the logit is infinite for records with a sum above about 1."""
    return torch.full_like(assembled.start.weights, 3e38)


@pytest.mark.parametrize("channel", ["masked", "ckks"])
def test_weights_that_overflow_for_some_records_make_no_client_look_different(
    channel: str, tmp_path: Path
) -> None:
    outlines = []
    for name in ("usual", "overflowing"):
        scenario = parse_scenario(HEART, overrides=(f"channel.kind={channel}",))
        assembled = assemble(scenario, run="r", ledgers=tmp_path / name)
        weights = overflowing(assembled) if name == "overflowing" else assembled.start.weights
        recorder = Recorder()
        start = replace(assembled.start, weights=weights)
        played = engine.play_round(assembled.federation, start, recorder)
        own = [o for o in recorder.observations if o.kind == Seen.OWN_UPDATE]
        updates = [o.values for o in own if o.values is not None]
        finite = [bool(torch.isfinite(update).all()) for update in updates]
        assert len(finite) == 4
        assert all(finite) == (name == "usual")
        outlines.append(outline(played))
    assert outlines[0] == outlines[1]
    assert outlines[0]["survivors"] == (0, 1, 2, 3)
