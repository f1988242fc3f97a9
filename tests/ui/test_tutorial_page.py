"""docs/tutorial.md: its commands work in an empty folder, and print what the page says."""

import re
import shlex

import pytest

from tests.commands import call
from tests.paths import ROOT
from tests.ui.test_readme import PLACEHOLDER, commands

PAGE = "docs/tutorial.md"
AUDIT = "securefl audit scenario.toml --adversary server"
# tests/ui/test_readme.py plays all 20 rounds, and measures what updates show.
SMALLER_STILL = {
    AUDIT: "--shadows 0 --no-exposure --set rounds=2",
    "securefl run scenario.toml --out runs/first": "--set rounds=2",
    "securefl run scenario.toml --out runs/strict --set privacy.epsilon=1.0": "--set rounds=2",
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each command of the page prints."""
    assert set(SMALLER_STILL) <= set(commands(PAGE))
    folder = tmp_path_factory.mktemp("tutorial")
    outputs = {}
    for line in commands(PAGE):
        options = SMALLER_STILL.get(line, "")
        if PLACEHOLDER in line:
            (audit,) = (folder / "audits").iterdir()
            line = line.replace(PLACEHOLDER, str(audit))
        _, *arguments = shlex.split(f"{line} {options}")
        done = call(*arguments, cwd=folder)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        outputs[line] = done.stdout
    assert (folder / "runs/first/report/index.html").exists()
    return outputs


def test_validate_says_who_sees_what_what_is_promised_and_what_is_left_out(
    printed: dict[str, str],
) -> None:
    text = printed["securefl validate scenario.toml"]
    assert re.search(r"^channel masked: the server sees the sum .* no single update", text, re.M)
    assert "privacy: (8, 1e-05)-DP for one training example, local noise" in text
    assert re.search(r"^outside the claim: ", text, re.M)


def test_a_run_prints_the_columns_of_the_page(printed: dict[str, str]) -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    (head,) = re.findall(r"^\| (accuracy .*) \|$", page, re.M)
    words = re.sub(r"\s+", " ", printed["securefl run scenario.toml --out runs/first"])
    assert head.replace(" |", "") in words


def test_compare_says_that_one_seed_ranks_nothing(printed: dict[str, str]) -> None:
    text = printed["securefl compare runs/first runs/strict"]
    assert "privacy.epsilon: 8.0 -> 1.0" in text
    assert "(one seed)" in text


def test_the_audits_end_as_the_page_says(printed: dict[str, str]) -> None:
    assert printed["securefl audit runs/first"].startswith("no mistake found")
    text = printed[AUDIT]
    assert "TPR at 1 % FPR" in text
    assert "verdict: cannot tell: nothing is refuted" in text
