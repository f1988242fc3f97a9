"""Every named mistake, planted in the folder of a run that has none.

Also: the lint of a scenario before its run.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from securefl.audit.lint import examine, mistake_lines
from securefl.errors import RunFolderError, ScenarioError
from securefl.privacy import chain as ledger
from securefl.privacy.events import DiscreteGaussianSum, event_to_json
from securefl.privacy.lint.case import Case
from securefl.privacy.lint.lint import lint
from securefl.privacy.lint.mistakes import MISTAKES
from securefl.privacy.lint.page import page
from securefl.runs import api
from securefl.runs.names import cell_hash
from securefl.scenario.scenario import parse_scenario
from securefl.ui.cli import app
from tests.commands import call
from tests.paths import ROOT

TEXT = """
rounds = 4
data = { name = "heart" }
training = { kind = "dp_sgd", batch = 32, epochs = 2 }
privacy = { epsilon = 8.0, delta = 1e-5 }
"""


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lint") / "run"
    api.run(parse_scenario(TEXT), folder, text=TEXT)
    return folder


@pytest.fixture
def run(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "run"))


def cell(run: Path) -> Path:
    (folder,) = (run / "cells").iterdir()
    return folder


def resolved(run: Path) -> Any:
    """Returns the resolved scenario of the only cell."""
    return json.loads((run / "resolved.json").read_text())["cells"][cell(run).name]


def change(path: Path, edit: Callable[[Any], object]) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def change_scenario(run: Path, edit: Callable[[Any], object]) -> None:
    change(run / "resolved.json", lambda held: edit(next(iter(held["cells"].values()))))


def rewrite_ledger(
    run: Path,
    client: int,
    edit: Callable[[dict[str, Any]], dict[str, Any] | None],
    terms: dict[str, object] | None = None,
    before: dict[str, object] | None = None,
) -> None:
    """Writes a ledger again, so that it chains; leaves out an entry that `edit` turns into None."""
    path = cell(run) / "ledgers" / f"{client}.jsonl"
    entries = ledger.read_entries(path)
    opening: dict[str, object] = {"terms": entries[0]["terms"] | (terms or {})}
    if before is not None:
        opening["before"] = before
    head = "0" * 64
    lines = list[bytes]()
    for entry in entries:
        edited = edit({key: entry[key] for key in ("kind", "release", "event")})
        if edited is None:
            continue
        # The first line also carries the terms and the past.
        body = edited if lines else {**edited, **opening}
        line, head = ledger.chain(head, body)
        lines.append(line)
    path.write_bytes(b"".join(lines))
    note_heads(run, client)


def draw_from_a_seed(run: Path) -> None:
    """Turns a run into one whose noise came from a seed, in its scenario and its ledgers."""
    change_scenario(run, lambda scenario: scenario["privacy"].update(noise="seeded"))
    for client in range(4):
        rewrite_ledger(run, client, lambda entry: entry, {"noise": "seeded"})


def go_on_from_a_seed(run: Path) -> None:
    """Turns a run into one that continues a run whose noise came from a seed."""
    change_scenario(run, lambda scenario: scenario.update(init_from="gone"))
    for client in range(4):
        past: dict[str, object] = {"head": "0" * 64, "events": [], "seeded": ["3fa9"]}
        rewrite_ledger(run, client, lambda entry: entry, before=past)


def note_heads(run: Path, client: int) -> None:
    """Makes the rounds note the head of the ledger as it is: a forger has both files."""
    head = ledger.read_entries(cell(run) / "ledgers" / f"{client}.jsonl")[-1]["hash"]

    def note(record: dict[str, Any]) -> None:
        record["ledger_heads"][str(client)] = head

    change_rounds(run, note)


def change_rounds(run: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edits every line of rounds.jsonl."""
    path = cell(run) / "rounds.jsonl"
    rounds = [json.loads(line) for line in path.read_text().splitlines()]
    for record in rounds:
        edit(record)
    path.write_text("".join(json.dumps(record) + "\n" for record in rounds))


def with_event(**values: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def edit(entry: dict[str, Any]) -> dict[str, Any]:
        return entry | {"event": entry["event"] and entry["event"] | values}

    return edit


def messages(run: Path) -> dict[str, str]:
    (verdict,) = examine(run)
    return {finding.name: finding.message for finding in verdict.findings}


# None


def test_a_run_of_ours_has_no_finding(run: Path) -> None:
    assert messages(run) == {}


def test_examining_changes_nothing(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    examine(run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_run_without_a_claim_has_no_finding(run: Path) -> None:
    def edit(scenario: Any) -> None:
        scenario["privacy"] |= {"epsilon": "inf", "noise": "seeded", "delta": 0.5}
        scenario["practice"] |= {
            "sampling": "shuffled",
            "normaliser": "batch",
            "layers": ["BatchNorm2d"],
        }
        scenario["weights"] = "reported"

    change_scenario(run, edit)
    shutil.rmtree(cell(run) / "ledgers")
    change_rounds(run, lambda record: record.update(ledger_heads={}))
    assert messages(run) == {}


def practice(key: str, value: object) -> Callable[[Path], None]:
    return lambda run: change_scenario(
        run, lambda scenario: scenario["practice"].update({key: value})
    )


def privacy(**values: object) -> Callable[[Path], None]:
    return lambda run: change_scenario(run, lambda scenario: scenario["privacy"].update(values))


def book_shares_of_everybody(run: Path) -> None:
    """Books noise of four shares in the sums of four clients, of which one may be corrupt."""
    privacy(place="distributed")(run)
    event = DiscreteGaussianSum.of(20.0, 4, sensitivity=1.0, granularity=0.1, dimension=14)
    for client in range(4):
        rewrite_ledger(
            run,
            client,
            lambda entry: entry | {"event": entry["event"] and event_to_json(event)},
        )


def metrics(**values: object) -> Callable[[Path], None]:
    return lambda run: change(cell(run) / "metrics.json", lambda held: held.update(values))


PLANTS: dict[str, Callable[[Path], None]] = {
    "ledger-edited": lambda run: (cell(run) / "ledgers/1.jsonl").unlink(),
    "evidence-missing": lambda run: (cell(run) / "metrics.json").unlink(),
    "claim-without-noise": lambda run: rewrite_ledger(run, 2, with_event(noise_multiplier=0.0)),
    "accountant-restarted": metrics(epsilon=0.1),
    "budget-exceeded": privacy(epsilon=1.0),
    "noise-not-as-configured": privacy(noise_multiplier=0.2),
    "steps-not-accounted": lambda run: rewrite_ledger(run, 0, with_event(steps=7)),
    "delta-too-large": privacy(delta=0.5),
    "delta-from-batches": privacy(delta=1 / 32),
    "shuffled-as-poisson": practice("sampling", "shuffled"),
    "batches-dropped": practice("batches", "dropped"),
    "rate-over-all-data": lambda run: rewrite_ledger(run, 0, with_event(sample_rate=0.01)),
    "draw-amplified": privacy(unit="client"),
    "shares-as-gaussian": privacy(place="distributed"),
    "shares-for-all-present": book_shares_of_everybody,
    "private-normaliser": practice("normaliser", "batch"),
    "batch-norm": practice("layers", ["BatchNorm2d"]),
    "private-statistics": practice("statistics", "private"),
    "weight-opened": lambda run: change_scenario(
        run, lambda scenario: scenario.update(weights="reported")
    ),
    "seeded-noise": draw_from_a_seed,
    "seeded-before": go_on_from_a_seed,
    "cohort-not-secret": lambda run: change_scenario(
        run, lambda scenario: scenario.update(cohort={"size": 3})
    ),
    "groups-not-covered": lambda run: change_scenario(
        run, lambda scenario: scenario["data"].update(grouped=True)
    ),
    "tuning-not-charged": lambda run: add_cell(run, "one", "done", rounds=3),
    "majority-accuracy": metrics(accuracy=0.0),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_has_a_reason_a_source_and_shows_where_it_is_planted(
    run: Path, name: str
) -> None:
    assert len(MISTAKES[name].why) > 80
    assert MISTAKES[name].source
    PLANTS[name](run)
    first, *_ = examine(run)
    assert name in {finding.name for finding in first.findings}


def test_every_mistake_is_planted_and_nothing_else() -> None:
    assert set(PLANTS) == set(MISTAKES)


# The ledger


def test_an_edited_line_is_found(run: Path) -> None:
    path = cell(run) / "ledgers/1.jsonl"
    path.write_text(path.read_text().replace('"steps":', '"steps": ', 1))
    assert messages(run) == {
        "ledger-edited": "the ledger 1.jsonl was edited at line 1: its hash chain is broken"
    }


@pytest.mark.parametrize(
    "terms", [{"budget": 1e9}, {"unit": "client"}, {"delta": 1e-9}, {"noise": "seeded"}]
)
def test_a_ledger_under_other_terms_is_found(run: Path, terms: dict[str, object]) -> None:
    rewrite_ledger(run, 1, lambda entry: entry, terms)
    ((key, value),) = terms.items()
    assert messages(run)["ledger-edited"].startswith(
        f"client 1: its ledger was kept at {key} {value}, the scenario says"
    )


@pytest.mark.parametrize("clients", [[2], [1, 2, 3]])
def test_a_ledger_that_is_gone_is_found(run: Path, clients: list[int]) -> None:
    for client in clients:
        (cell(run) / f"ledgers/{client}.jsonl").unlink()
    assert messages(run)["ledger-edited"].startswith(
        f"client {clients[0]}: entries that its ledger held by round 3 are missing: it was cut"
    )
    assert "steps-not-accounted" in messages(run)


def test_a_client_that_never_booked_needs_no_ledger(run: Path) -> None:
    (cell(run) / "ledgers/2.jsonl").unlink()
    change(cell(run) / "metrics.json", lambda metrics: metrics["epsilons"].update({"2": 0.0}))

    def absent(record: dict[str, Any]) -> None:
        record["survivors"].remove(2)
        record["ledger_heads"]["2"] = "0" * 64

    change_rounds(run, absent)
    assert messages(run) == {}


def test_a_file_among_the_ledgers_that_is_no_clients_is_found(run: Path) -> None:
    shutil.copy(cell(run) / "ledgers/0.jsonl", cell(run) / "ledgers/0-old.jsonl")
    assert messages(run) == {"ledger-edited": "0-old.jsonl among the ledgers belongs to no client"}


def test_a_claim_that_was_lowered_afterwards_is_found(run: Path) -> None:
    change_scenario(run, lambda scenario: scenario["privacy"].update(epsilon=1.0))
    assert messages(run)["budget-exceeded"].startswith("client 0: its ledger holds releases of 7.9")
    assert messages(run)["budget-exceeded"].endswith("1 is claimed")


def test_attempts_at_one_round_all_count(run: Path) -> None:
    path = cell(run) / "ledgers/0.jsonl"
    entries = [entry for entry in ledger.read_entries(path) if entry["kind"] == "reserve"]
    terms = entries[0]["terms"]
    head = "0" * 64
    lines = list[bytes]()
    for attempt in range(10):
        for entry in entries:
            body = {
                "kind": "reserve",
                "event": entry["event"],
                "release": [*entry["release"][:3], attempt],
            }
            line, head = ledger.chain(head, body if lines else {**body, "terms": terms})
            lines.append(line)
    path.write_bytes(b"".join(lines))
    note_heads(run, 0)
    assert "budget-exceeded" in messages(run)
    assert "accountant-restarted" in messages(run)


@pytest.mark.parametrize("reported", [0.1, None])
def test_a_headline_below_the_ledgers_is_found(run: Path, reported: float | None) -> None:
    change(cell(run) / "metrics.json", lambda metrics: metrics.update(epsilon=reported))
    shown = "none" if reported is None else "0.1"
    assert messages(run)["accountant-restarted"].startswith(
        f"epsilon {shown} is reported, a ledger holds releases of 7.9"
    )


def test_a_client_that_is_not_reported_is_found(run: Path) -> None:
    change(cell(run) / "metrics.json", lambda metrics: metrics["epsilons"].pop("2"))
    assert messages(run)["accountant-restarted"].startswith("client 2: epsilon none is reported")


def test_more_noise_in_the_books_than_was_asked_for_is_found(run: Path) -> None:
    event = ledger.read_entries(cell(run) / "ledgers/3.jsonl")[0]["event"]
    rewrite_ledger(run, 3, with_event(noise_multiplier=1.05 * event["noise_multiplier"]))
    message = "client 3: noise for epsilon 8 was asked for, its ledger has noise for 7."
    assert messages(run)["noise-not-as-configured"].startswith(message)
    change_scenario(run, lambda scenario: scenario["privacy"].update(noise_multiplier=0.2))
    message = "client 0: noise multiplier 0.2 was asked for, its ledger books"
    assert messages(run)["noise-not-as-configured"].startswith(message)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda run: (cell(run) / "metrics.json").unlink(), "lacks its metrics"),
        (
            lambda run: (cell(run) / "rounds.jsonl").write_text(""),
            "lacks the records of all its rounds",
        ),
        (lambda run: (cell(run) / "rounds.jsonl").unlink(), "lacks the records of all its rounds"),
        (
            lambda run: change_scenario(run, lambda s: s.update(rounds=5)),
            "lacks the records of all its rounds",
        ),
        (
            lambda run: change_scenario(run, lambda s: s.update(practice=None)),
            "lacks the practice of its training",
        ),
        (
            lambda run: change_scenario(run, lambda s: s["practice"].pop("sampling")),
            "lacks the practice",
        ),
        (
            lambda run: change_scenario(run, lambda s: s["privacy"].update(records=None)),
            "lacks the number of records",
        ),
        (
            lambda run: change_scenario(run, lambda s: s["training"].update(kind="sgd")),
            "lacks a mechanism that adds",
        ),
        (
            lambda run: change_scenario(run, lambda s: s.update(init_from="x")),
            "lacks the past it goes on from",
        ),
    ],
)
def test_missing_evidence_is_found(run: Path, edit: Callable[[Path], object], message: str) -> None:
    edit(run)
    assert message in messages(run)["evidence-missing"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("rounds.jsonl", b"\x80\x81\n"),
        ("rounds.jsonl", b"[1]\n"),
        ("rounds.jsonl", b'{"round": 0}\n'),
        ("metrics.json", b""),
        ("metrics.json", b'{"epsilons": 3}'),
        ("status.json", b"\x80"),
    ],
)
def test_damaged_files_are_one_sentence(run: Path, file: str, content: bytes) -> None:
    (cell(run) / file).write_bytes(content)
    with pytest.raises(RunFolderError, match="is damaged"):
        examine(run)


@pytest.mark.parametrize("edit", [{"privacy": 3}, {"practice": {"layers": 3}}, {"training": None}])
def test_a_damaged_scenario_is_one_sentence(run: Path, edit: dict[str, object]) -> None:
    change_scenario(run, lambda scenario: scenario.update(edit))
    with pytest.raises(RunFolderError, match="is damaged"):
        examine(run)


def test_a_ledger_that_is_a_folder_is_found(run: Path) -> None:
    (cell(run) / "ledgers/1.jsonl").unlink()
    (cell(run) / "ledgers/1.jsonl").mkdir()
    assert messages(run)["ledger-edited"] == "the ledger 1.jsonl cannot be read: Is a directory"


def test_a_claim_without_ledgers_is_found(run: Path) -> None:
    shutil.rmtree(cell(run) / "ledgers")
    assert (
        messages(run)["claim-without-noise"]
        == "a finite epsilon is claimed, and no ledger holds a release"
    )


def test_a_release_without_noise_is_found(run: Path) -> None:
    rewrite_ledger(run, 2, with_event(noise_multiplier=0.0))
    assert messages(run)["claim-without-noise"] == "client 2 released without noise"


def test_an_accountant_that_started_anew_is_found_by_the_heads_of_the_rounds(run: Path) -> None:
    rounds = (cell(run) / "rounds.jsonl").read_text()
    rewrite_ledger(run, 0, lambda entry: entry if entry["release"][2] == 3 else None)
    (cell(run) / "rounds.jsonl").write_text(rounds)
    message = "client 0: its ledger begins at round 3, and it had booked round 0"
    assert messages(run)["accountant-restarted"] == message


def test_an_epsilon_of_the_last_round_alone_is_found(run: Path) -> None:
    change(cell(run) / "metrics.json", lambda metrics: metrics["epsilons"].update({"3": 1.7}))
    assert messages(run)["accountant-restarted"].startswith(
        "client 3: epsilon 1.7 is reported, its ledger holds releases of 7.9"
    )


def test_a_round_that_was_run_and_not_booked_is_found(run: Path) -> None:
    rewrite_ledger(run, 1, lambda entry: None if entry["release"][2] == 2 else entry)
    assert messages(run) == {
        "steps-not-accounted": "client 1 took part in round 2, and its ledger books nothing for it"
    }


def test_epochs_that_were_forgotten_are_found(run: Path) -> None:
    rewrite_ledger(run, 0, with_event(steps=7))
    message = (
        "client 0 takes 14 steps a round (epochs x ceil(records / batch)), and its ledger books 7"
        " for round 0"
    )
    assert messages(run)["steps-not-accounted"] == message


def test_a_round_that_a_client_did_not_survive_needs_no_booking(run: Path) -> None:
    rewrite_ledger(run, 1, lambda entry: None if entry["release"][2] == 2 else entry)

    def dropped(record: dict[str, Any]) -> None:
        if record["round"] == 2:
            record["survivors"].remove(1)

    change_rounds(run, dropped)
    assert messages(run) == {}


def test_a_rate_over_the_records_of_all_is_found(run: Path) -> None:
    total = sum(resolved(run)["privacy"]["records"])
    rewrite_ledger(run, 0, with_event(sample_rate=32 / total))
    assert messages(run)["rate-over-all-data"].startswith(
        f"client 0 is accounted at a sampling rate of {32 / total:.4g}, over all {total}"
    )


def test_a_rate_that_is_too_low_for_another_reason_is_found(run: Path) -> None:
    rewrite_ledger(run, 0, with_event(sample_rate=0.01))
    assert "at a sampling rate of 0.01, too low" in messages(run)["rate-over-all-data"]


# The practice


@pytest.mark.parametrize(
    ("key", "value", "name", "message"),
    [
        (
            "sampling",
            "shuffled",
            "shuffled-as-poisson",
            "batches are shuffled, and accounted as Poisson samples",
        ),
        ("batches", "dropped", "batches-dropped", "some batches are dropped"),
        ("batches", "truncated", "batches-dropped", "some batches are truncated"),
        ("normaliser", "batch", "private-normaliser", "the noisy sum is divided by the batch size"),
        ("layers", ["BatchNorm2d", "Conv2d"], "batch-norm", "the model has BatchNorm2d"),
        (
            "statistics",
            "private",
            "private-statistics",
            "class weights, normalisation or prior are private:"
            " read from the records that the claim is about",
        ),
    ],
)
def test_a_practice_that_breaks_the_claim_is_found(
    run: Path, key: str, value: object, name: str, message: str
) -> None:
    change_scenario(run, lambda scenario: scenario["practice"].update({key: value}))
    assert messages(run) == {name: message}


def test_weights_that_are_reported_are_found(run: Path) -> None:
    change_scenario(run, lambda scenario: scenario.update(weights="reported"))
    assert list(messages(run)) == ["weight-opened"]


def test_a_ledger_that_was_kept_at_another_delta_is_found(run: Path) -> None:
    change_scenario(run, lambda scenario: scenario["privacy"].update(delta=1e-6))
    message = "client 0: its ledger was kept at delta 1e-05, the scenario says 1e-06"
    assert messages(run)["ledger-edited"] == message


def test_a_delta_of_one_over_the_batches_is_found(run: Path) -> None:
    change_scenario(run, lambda scenario: scenario["privacy"].update(delta=1 / 7))
    shown = messages(run)
    assert (
        shown["delta-from-batches"]
        == "delta 0.142857 is one over the 7 batches an epoch of client 0"
    )
    assert "delta-too-large" in shown


def test_a_delta_of_one_over_a_batch_is_found(run: Path) -> None:
    change_scenario(run, lambda scenario: scenario["privacy"].update(delta=1 / 32))
    assert (
        messages(run)["delta-from-batches"]
        == "delta 0.03125 is one over the 32 records a batch of client 0"
    )


def test_a_delta_below_one_over_the_records_is_no_matter_of_batches(run: Path) -> None:
    # More than there are records.
    change_scenario(run, lambda scenario: scenario["training"].update(batch=100_000))
    assert "delta-from-batches" not in messages(run)


def test_a_delta_of_one_over_the_records_is_found(run: Path) -> None:
    records = max(resolved(run)["privacy"]["records"])
    change_scenario(run, lambda scenario: scenario["privacy"].update(delta=1 / records))
    assert messages(run)["delta-too-large"].endswith(
        f"is not below 1 / {records}, one over the records"
    )
    change_scenario(run, lambda scenario: scenario["privacy"].update(delta=0.99 / records))
    assert "delta-too-large" not in messages(run)


# Remarks


def test_seeded_noise_is_remarked_on(run: Path) -> None:
    draw_from_a_seed(run)
    assert list(messages(run)) == ["seeded-noise"]


def test_seeded_noise_of_an_earlier_run_is_a_mistake_where_this_one_claims_the_systems(
    run: Path,
) -> None:
    go_on_from_a_seed(run)
    message = (
        "noise of run 3fa9, which this one continues, came from a seed: for the releases of that"
        " run, the claim does not hold"
    )
    assert list(messages(run)) == ["seeded-before"]
    assert messages(run)["seeded-before"].startswith(message)
    draw_from_a_seed(run)
    assert "seeded-before" not in messages(run)


COHORT = (
    "cohorts of 2 of 4 clients are drawn from the scenario's seed:"
    " the claim gains nothing from that draw"
)


def test_a_cohort_next_to_a_claim_is_remarked_on(run: Path) -> None:
    change_scenario(run, lambda scenario: scenario.update(cohort={"size": 2}))
    assert messages(run) == {"cohort-not-secret": COHORT}
    change_scenario(run, lambda scenario: scenario.update(cohort={"size": 4}))
    assert messages(run) == {}


def test_validate_says_that_a_cohort_is_outside_the_claim(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(TEXT + "cohort = { size = 2 }\n")
    lines = CliRunner().invoke(app, ["validate", str(path)]).stdout.splitlines()
    assert f"lint: remark cohort-not-secret: {COHORT}" in lines
    outside = "outside the claim: who is in a cohort, which the scenario's seed decides"
    assert f"{outside}: it amplifies nothing" in lines
    everybody = CliRunner().invoke(app, ["validate", str(path), "--set", "cohort.size=4"]).stdout
    unclaimed = (
        CliRunner().invoke(app, ["validate", str(path), "--set", "privacy.epsilon=inf"]).stdout
    )
    assert "cohort" not in everybody + unclaimed


def test_no_draw_of_a_cohort_amplifies_what_is_booked(tmp_path: Path) -> None:
    text = TEXT.replace("rounds = 4", "rounds = 2") + "cohort = { size = 2 }\n"
    scenario = parse_scenario(text)
    api.run(scenario, tmp_path / "run", text=text)
    (verdict,) = examine(tmp_path / "run")
    assert [finding.name for finding in verdict.findings] == ["cohort-not-secret"]
    ledgers = sorted((cell(tmp_path / "run") / "ledgers").iterdir())
    assert ledgers
    for path in ledgers:
        events = [entry["event"] for entry in ledger.read_entries(path) if entry["event"]]
        assert {event["sample_rate"] for event in events} == {
            min(1.0, 32 / scenario.site_records[int(path.stem)])
        }


def test_a_rate_multiplied_by_the_share_of_a_cohort_is_found(run: Path) -> None:
    change_scenario(run, lambda scenario: scenario.update(cohort={"size": 2}))
    rate = ledger.read_entries(cell(run) / "ledgers/0.jsonl")[0]["event"]["sample_rate"]
    rewrite_ledger(run, 0, with_event(sample_rate=rate * 2 / 4))
    assert f"at a sampling rate of {rate / 2:.4g}, too low" in messages(run)["rate-over-all-data"]


def add_cell(run: Path, name: str, state: str, **values: object) -> None:
    """Adds a cell to the folder, with the files of the present one."""
    (source,) = (path for path in (run / "cells").iterdir() if len(path.name) == 16)
    shutil.copytree(source, run / "cells" / name)
    change(run / "cells" / name / "status.json", lambda status: status.update(state=state))

    def edit(held: Any) -> None:
        held["cells"][name] = held["cells"][source.name] | values
        held["uses"].append(held["uses"][0] | {"cell": name, "label": name})

    change(run / "resolved.json", edit)


def test_settings_tried_on_the_same_records_are_remarked_on(run: Path) -> None:
    training = {"kind": "dp_sgd", "batch": 32, "epochs": 2, "clip": 1.0}
    add_cell(run, "one", "done", training={**training, "lr": 0.1}, seed=9)
    add_cell(run, "two", "out of budget", training={**training, "lr": 0.2})
    # Another seed is no other setting.
    add_cell(run, "same", "done", seed=10)
    add_cell(run, "never run", "new", training={**training, "lr": 0.3})
    first, *_ = examine(run)
    message = "2 other settings were run on the same records, and each is booked as the only one"
    assert first.findings == [("tuning-not-charged", message, False)]


def test_settings_tried_on_other_records_are_not(run: Path) -> None:
    data = resolved(run)["data"]
    add_cell(
        run,
        "other",
        "done",
        data=data | {"split_seed": 5},
        rounds=4,
        seed=9,
        server={"step": "fedadam"},
    )
    assert [verdict.findings for verdict in examine(run)] == [[], []]


def test_a_finding_of_many_cells_is_one_line(run: Path) -> None:
    draw_from_a_seed(run)
    add_cell(run, "one", "done", seed=9)
    add_cell(run, "two", "new")
    remark, summary = mistake_lines(examine(run))
    assert remark.startswith("remark seeded-noise: ")
    assert remark.endswith("(run, one) [2 cells]")
    assert summary == "0 of 3 cells with mistakes (2 done, 4 of 4 rounds; 1 not run)"


def test_an_accuracy_of_the_largest_class_is_remarked_on(run: Path) -> None:
    change(cell(run) / "metrics.json", lambda metrics: metrics.update(accuracy=metrics["majority"]))
    assert list(messages(run)) == ["majority-accuracy"]


# On the command line


def test_audit_prints_mistakes_with_their_reasons_and_fails(run: Path, tmp_path: Path) -> None:
    change_scenario(run, lambda scenario: scenario["practice"].update(batches="dropped"))
    change_scenario(run, lambda scenario: scenario["privacy"].update(noise="seeded"))
    done = call("audit", "run", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: a claim in this folder does not hold\n"
    assert (
        "MISTAKE batches-dropped: some batches are dropped (run)\nremark seeded-noise: "
        in done.stdout
    )
    assert "mistakes found (done, 4 of 4 rounds)" in done.stdout
    assert MISTAKES["batches-dropped"].why in done.stdout
    assert MISTAKES["batches-dropped"].source in done.stdout


def test_audit_of_a_clean_run_says_so(run: Path, tmp_path: Path) -> None:
    done = call("audit", "run", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "no mistake found (done, 4 of 4 rounds)\n")


def test_remarks_do_not_fail_an_audit(run: Path, tmp_path: Path) -> None:
    draw_from_a_seed(run)
    assert call("audit", "run", cwd=tmp_path).returncode == 0


def test_validate_and_run_print_the_findings_of_a_scenario(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(TEXT.replace("delta = 1e-5", 'delta = 1e-5, noise = "seeded"'))
    for command in ("validate", "run"):
        done = call(command, "s.toml", cwd=tmp_path)
        assert "lint: remark seeded-noise: the noise comes from the scenario's seed" in done.stdout


def test_a_scenario_is_linted_without_having_been_run() -> None:
    resolved = parse_scenario(TEXT).resolved()
    assert lint(Case(resolved)) == []
    resolved["practice"]["sampling"] = "shuffled"
    assert [finding.name for finding in lint(Case(resolved))] == ["shuffled-as-poisson"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            'sampling = "shuffled"',
            "that may be the mistake shuffled-as-poisson: The accountant's amplification",
        ),
        ('normaliser = "batch"', "practice.normaliser: dp_sgd has 'declared', got 'batch'"),
        ('layers = ["BatchNorm1d"]', "practice.layers: dp_sgd has ['Linear'], got ['BatchNorm1d']"),
    ],
)
def test_a_practice_that_is_not_ours_is_refused_by_its_name(given: str, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(sentence)):
        parse_scenario(TEXT + f"practice = {{ {given} }}\n")


def test_the_name_of_a_cell_does_not_depend_on_the_practice() -> None:
    resolved = parse_scenario(TEXT).resolved()
    without = {key: value for key, value in resolved.items() if key != "practice"}
    assert cell_hash(resolved) == cell_hash(without)
    assert cell_hash(resolved | {"rounds": 5}) != cell_hash(resolved)


def test_a_practice_that_is_ours_may_be_named_and_is_written_down(tmp_path: Path) -> None:
    named = parse_scenario(TEXT + 'practice = { sampling = "poisson", layers = ["Linear"] }\n')
    assert named.resolved() == parse_scenario(TEXT).resolved()
    plain = parse_scenario('training.kind = "sgd"\npractice.sampling = "shuffled"\n').resolved()[
        "practice"
    ]
    assert (plain["sampling"], plain["normaliser"], plain["batches"]) == (
        "shuffled",
        "batch",
        "all",
    )


def test_the_page_is_up_to_date() -> None:
    held = (ROOT / "docs/mistakes.md").read_text(encoding="utf-8")
    assert held == page(), "run: python -m securefl.privacy.lint.page > docs/mistakes.md"


def test_audit_of_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = call("audit", "typo", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "error: typo is not there: give a run folder, or audit a scenario with --adversary"
    )
