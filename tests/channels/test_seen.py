"""The kinds of observations: named once, and never typed as words elsewhere."""

import ast
import json

from securefl.channels.protocol import Seen
from tests.paths import ROOT

PROTOCOL = ROOT / "securefl/channels/protocol.py"


def test_no_code_types_the_words_of_a_kind() -> None:
    # A slip in such a word would blind an audit without an error.
    words, typed = {kind.value for kind in Seen}, []
    for source in sorted((ROOT / "securefl").rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in words and source != PROTOCOL:
                typed.append(f"{source.relative_to(ROOT)}:{node.lineno}")
    assert typed == []


def test_transcripts_on_disk_keep_their_words() -> None:
    assert json.dumps([kind for kind in Seen]) == json.dumps(
        [
            "global model",
            "own update",
            "update in the clear",
            "model of a neighbour",
            "public keys",
            "sealed shares",
            "masked update",
            "reported weight",
            "signed survivor set",
            "shares of survivors' seeds and of dropped clients' keys",
            "sum of updates",
            "encrypted update",
            "encrypted sum",
            "opened sum",
            "sealed shares of sketches",
            "signed acceptances of dealings",
            "shares of squared distances",
            "squared distances between updates",
            "clients chosen for the sum",
            "counts in the clear",
            "masked counts",
            "sum of counts",
            "statistics in the clear",
            "masked statistics",
            "sum of statistics",
            "own honest updates",
            "honest updates of the others",
        ]
    )
