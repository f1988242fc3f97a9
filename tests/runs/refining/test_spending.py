"""What was spent on all versions: nothing of it is lost by a crash, a rollback or a lost file."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from securefl.errors import LedgerError
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import read_entries
from securefl.privacy.events import ReleaseId, SampledGaussian
from securefl.privacy.ledger import Ledger
from securefl.privacy.past import past_of
from securefl.privacy.terms import LOCAL, Place, Terms
from securefl.runs import api
from securefl.runs.refining.gate import parse_gate
from securefl.runs.refining.plan import PREPAID, Asked
from securefl.runs.refining.prepaid import name_of
from securefl.runs.refining.refine import abandon, refine
from securefl.runs.refining.series import Series
from securefl.runs.refining.spending import check_prepaid, spent_up_to
from securefl.scenario.assemble import parts
from securefl.scenario.scenario import parse_scenario
from tests.runs.refining.conftest import CLAIM, Copied, play
from tests.values import present

# Two of four clients take part in the only round.
PARTIAL = CLAIM.replace("rounds = 2", "rounds = 1") + (
    "cohort = { size = 2 }\nchannel = { min_cohort = 1 }\n"
)
MORE = {"share": 0.9}


class Killed(BaseException):
    """A loss of power, as no code of ours catches it."""


def crash(*_: object) -> None:
    raise Killed


def booked(folder: Path) -> dict[int, Counter[SampledGaussian]]:
    """Client -> what its ledger books itself, without its past."""
    return {
        int(file.stem): Counter(
            SampledGaussian(**entry["event"]) for entry in read_entries(file) if entry["event"]
        )
        for file in folder.glob("*.jsonl")
    }


def truly_spent(series: Series) -> dict[int, Counter[SampledGaussian]]:
    """Client -> all that was ever booked, whatever a ledger says of its past."""
    spent: dict[int, Counter[SampledGaussian]] = {}
    for version in series.versions:
        for folder in (series.folder(version) / PREPAID, series.cell(version).cell.ledgers):
            for client, events in booked(folder).items():
                spent[client] = spent.get(client, Counter()) + events
    return spent


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second version that had other clients in its round than the first, which is in force."""
    folder = tmp_path_factory.mktemp("partial") / "first"
    api.run(parse_scenario(PARTIAL), folder, text=PARTIAL)
    series = Series(folder)
    refine(series, Asked(MORE, ("privacy.epsilon=6.0", "seed=3")), play)
    series.roll_back(1)
    return folder


@pytest.mark.parametrize("begun", range(3))
def test_a_run_that_dies_while_its_ledgers_begin_gives_no_epsilon_back(
    rolled_back: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: int
) -> None:
    series = Series(shutil.copytree(rolled_back, tmp_path / "first"))
    first, second = (
        {client for client, events in booked(series.cell(version).cell.ledgers).items() if events}
        for version in (1, 2)
    )
    # The version that training starts from knows nothing of these.
    assert second - first
    begin = Ledger.begin
    done: list[Ledger] = []

    def dies(ledger: Ledger) -> None:
        if "run" in ledger._path.parts:
            if len(done) == begun:
                raise Killed
            done.append(ledger)
        begin(ledger)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "begin", dies)
        with pytest.raises(Killed):
            refine(series, Asked({"share": 0.8}, ("privacy.epsilon=20.0", "seed=4")), play)
    assert abandon(series) == 3
    assert present(series.decision(3)).facts == {"reason": "abandoned"}
    outcome = refine(series, Asked({"share": 0.7}, ("privacy.epsilon=20.0", "seed=6")), play)
    assert outcome.version == 4
    spent = truly_spent(series)
    assert {client for client, events in spent.items() if events} >= first | second
    for file in series.cell(4).cell.ledgers.glob("*.jsonl"):
        assert Counter(dict(past_of(file).events)) == spent[int(file.stem)]
    for client, reported in present(series.cell(4).cell.metrics())["epsilons"].items():
        events = spent.get(int(client), Counter())
        assert reported == (epsilon(events, delta=1e-5) if events else 0.0)


def test_a_version_that_dies_before_its_run_folder_can_be_given_up(copied: Copied) -> None:
    series = copied("claim")
    with pytest.raises(Killed):
        refine(series, Asked(MORE, ("privacy.epsilon=5.0",)), crash)
    assert abandon(series) == 2
    assert (series.versions, series.history()) == ([1], [])
    assert refine(series, Asked(MORE, ("privacy.epsilon=6.0",)), play).version == 2
    assert truly_spent(series)[0].total() == 4


def dies_before_its_ledgers(series: Series, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves a second version with a paid gate, given up, whose run has no ledger."""
    gate = parse_gate("accuracy >= 0.5")
    asked = Asked(MORE, ("privacy.epsilon=5.0",), gate, noise=4.0, records=250)
    with monkeypatch.context() as patch:
        patch.setattr(parts, "open_ledgers", crash)
        with pytest.raises(Killed):
            refine(series, asked, play)
    abandon(series)


def test_a_price_that_was_booked_before_training_counts_after_a_crash(
    copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = copied("claim")
    dies_before_its_ledgers(series, monkeypatch)
    gate = SampledGaussian(1.0, 4.0, 1)
    for client in range(4):
        own = booked(series.cell(1).cell.ledgers)[client]
        assert Counter(dict(spent_up_to(series, 1)[client].events)) == own
        assert Counter(dict(spent_up_to(series, 2)[client].events)) == own + Counter([gate])
    refine(series, Asked({"share": 0.8}, ("privacy.epsilon=7.0",)), play)
    assert truly_spent(series)[0] == Counter(dict(spent_up_to(series, 3)[0].events))


def test_a_first_line_that_a_crash_cut_short_is_no_ledger(
    copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = copied("claim")
    dies_before_its_ledgers(series, monkeypatch)
    before = spent_up_to(series, 2)
    ledgers = series.cell(2).cell.ledgers
    shutil.copytree(series.folder(2) / PREPAID, ledgers)
    cut = ledgers / "0.jsonl"
    cut.write_bytes(cut.read_bytes()[:40])
    assert spent_up_to(series, 2)[0] == before[0]


def test_a_seed_is_marked_although_the_run_that_named_it_died_early(
    copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = copied("claim")
    refine(series, Asked(MORE, ("privacy.epsilon=5.0", "privacy.noise=seeded")), play)
    name = series.cell(2).cell.status().run
    series.roll_back(1)
    with monkeypatch.context() as patch:
        patch.setattr(parts, "open_ledgers", crash)
        with pytest.raises(Killed):
            refine(series, Asked({"share": 0.8}, ("privacy.epsilon=7.0",)), play)
    abandon(series)
    refine(series, Asked({"share": 0.7}, ("privacy.epsilon=9.0",)), play)
    metrics = present(series.cell(4).cell.metrics())
    assert (metrics["noise"], metrics["seeded_before"]) == ("seeded", [name])


def terms_in(file: Path) -> Terms:
    return Terms(**read_entries(file)[0]["terms"])


def resumed(series: Series) -> None:
    """The first run goes on although the second is based on it, and books one more release."""
    file = series.cell(1).cell.ledgers / "0.jsonl"
    release = ReleaseId(name_of(1), 0, 9, 0)
    Ledger(file, terms_in(file)).reserve(SampledGaussian(1.0, 1e3, 1), release_id=release)


def replaced(series: Series) -> None:
    """A ledger between the versions begins anew."""
    file = series.folder(2) / PREPAID / "0.jsonl"
    terms = terms_in(file)
    file.unlink()
    release = ReleaseId(name_of(2), 0, 0, 0)
    Ledger(file, terms).reserve(SampledGaussian(1.0, 1e3, 1), release_id=release)


def unmarked(series: Series) -> None:
    """A ledger between the versions has all events of the first, and not its mark."""
    file = series.folder(2) / PREPAID / "0.jsonl"
    past, terms = past_of(file), terms_in(file)
    first = series.cell(1).cell.ledgers / "0.jsonl"
    for path, marks in ((first, ("seeded run",)), (file, ())):
        path.unlink()
        Ledger(path, terms, past._replace(seeded=marks)).begin()


def claiming_more(series: Series) -> None:
    """A ledger between the versions goes on from the first, and not from where its noise was."""
    file = series.folder(2) / PREPAID / "0.jsonl"
    past, terms = past_of(file), terms_in(file)
    first = series.cell(1).cell.ledgers / "0.jsonl"
    for path, place in ((first, Place("central")), (file, LOCAL)):
        path.unlink()
        Ledger(path, terms._replace(place=place), past._replace(places=())).begin()


@pytest.mark.parametrize(
    "change", [resumed, replaced, unmarked, claiming_more], ids=lambda change: change.__name__
)
def test_a_ledger_that_lacks_something_of_an_earlier_version_is_refused(
    copied: Copied, monkeypatch: pytest.MonkeyPatch, change: Callable[[Series], None]
) -> None:
    series = copied("claim")
    dies_before_its_ledgers(series, monkeypatch)
    for round_lines in series.cell(1).cell.folder.glob("rounds.jsonl"):
        round_lines.unlink()
    change(series)
    with pytest.raises(LedgerError, match=r"ledger 0\.jsonl of version 2 lacks something that an"):
        refine(series, Asked({"share": 0.8}, ("privacy.epsilon=7.0",)), play)
    assert series.versions == [1, 2]


def test_training_goes_on_only_from_ledgers_that_have_a_version_that_is_not_in_force(
    rolled_back: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = Series(shutil.copytree(rolled_back, tmp_path / "first"))
    (only,) = set(booked(series.cell(2).cell.ledgers)) - set(booked(series.cell(1).cell.ledgers))
    asked = Asked({"share": 0.8}, ("privacy.epsilon=20.0",))
    with monkeypatch.context() as patch:
        patch.setattr(parts, "open_ledgers", crash)
        with pytest.raises(Killed):
            refine(series, asked, play)
    check_prepaid(series, 3)
    (series.folder(3) / PREPAID / f"{only}.jsonl").unlink()
    with pytest.raises(LedgerError, match=rf"ledger {only}\.jsonl of version 3 lacks something"):
        refine(series, asked, play)
    assert not series.cell(3).cell.rounds()
