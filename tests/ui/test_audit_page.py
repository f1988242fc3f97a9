"""docs/audit.md on documents: its commands and its code work, on a small scenario."""

import shlex
from pathlib import Path

from tests.commands import call
from tests.paths import ROOT
from tests.ui.test_readme import blocks, commands, printed_by

PAGE = "docs/audit.md"
SMALL = 'rounds = 1\nweights = "equal"\ntraining = { kind = "sgd" }\n'


def test_the_page_makes_documents_of_an_audit_and_reads_its_findings(tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_text(SMALL)
    of_documents = [line for line in commands(PAGE) if "ci-audit" in line]
    assert len(of_documents) == 2
    for line in of_documents:
        done = call(*shlex.split(line)[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    (code,) = blocks("python", PAGE)
    assert printed_by(code, tmp_path) == "audit-outsider-shadows-0-seed-0: no claim\n"
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    written = {path.name for path in (tmp_path / "ci-audit/report").iterdir()}
    assert {name.replace("outsider-shadows-0-seed-0", "NAME") for name in written} == {
        "index.html",
        "audit-NAME.md",
        "findings.json",
        "junit.xml",
    }
    for name in ("index.html", "audit-NAME.md", "findings.json", "junit.xml"):
        assert f"| `{name}` |" in text
