"""securefl validate: what a checked scenario will do, in words."""

import sys
from pathlib import Path

import pytest

from securefl.scenario import catalog
from tests.commands import QUICK, call, refused, scenario_file

SECUREFL = str(Path(sys.executable).with_name("securefl"))


@pytest.mark.parametrize("kind", catalog.CHANNELS)
def test_validate_says_what_every_channel_shows_the_server(kind: str, tmp_path: Path) -> None:
    done = call(
        "validate", scenario_file(tmp_path, QUICK), "--set", f"channel.kind={kind}", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    # Weights are declared here, and none are reported; nor are there groups.
    seen = catalog.CHANNELS[kind].threats["server"].replace(", reported weights if allowed", "")
    seen = seen.replace("each block's or group's", "each block's")
    assert f"channel {kind}: the server sees {seen}" in done.stdout


def test_validate_speaks_of_reported_weights_only_where_clients_report_them(tmp_path: Path) -> None:
    reported = ("weights='reported'", "channel={ kind = 'masked', reveal_counts = true }")
    overrides = [word for override in reported for word in ("--set", override)]
    done = call("validate", scenario_file(tmp_path, QUICK), *overrides, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "who survived, reported weights; no single update" in done.stdout


@pytest.mark.parametrize(
    ("defense", "words"),
    [
        ('rule = "mean"', "rule mean, weights equal, server fedavg"),
        (
            'rule = "median"',
            "rule median, all rows count the same (weights equal are not used), server fedavg",
        ),
        (
            'prefilters = [{ name = "clip_norms", radius = 1.0 }]',
            "clip_norms (radius=1.0), then rule mean, "
            "all rows count the same (weights equal are not used), server",
        ),
    ],
)
def test_validate_says_whose_weights_count(defense: str, words: str, tmp_path: Path) -> None:
    text = QUICK + f'weights = "equal"\ndefense = {{ {defense} }}\n'
    assert words in call("validate", scenario_file(tmp_path, text), cwd=tmp_path).stdout


def test_validate_says_what_is_done_to_the_records(tmp_path: Path) -> None:
    data = 'name = "heart", share = 0.5, label_noise = 0.1, fold = 2, test_on = "validation"'
    text = f"{QUICK}data = {{ {data} }}\n"
    done = call("validate", scenario_file(tmp_path, text), cwd=tmp_path)
    assert (
        "each record kept with probability 0.5, labels wrong with probability 0.1, "
        "judged on VALIDATION records" in done.stdout
    )
    assert (
        "at most 30 records a client"
        in call(
            "validate",
            scenario_file(tmp_path, 'data = { most = 30 }\ntraining.kind = "sgd"\n'),
            cwd=tmp_path,
        ).stdout
    )
    assert (
        "judged on VALIDATION records"
        in call("run", scenario_file(tmp_path, text), cwd=tmp_path).stdout
    )


def test_validate_says_how_large_images_are_and_when_validation_records_judge(
    tmp_path: Path,
) -> None:
    data = (
        'data = { name = "medmnist:breastmnist", size = 64, test_on = "validation", clients = 5 }\n'
    )
    text = data + QUICK + 'weights = "reported"\nchannel = { kind = "ckks", clip = 2.0 }\n'
    done = call("validate", scenario_file(tmp_path, text), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        "medmnist:breastmnist (iid, 64 pixels a side, judged on VALIDATION records)" in done.stdout
    )
    assert (
        "2 may drop out; coordinates clipped at 2, the mean is off by at most 9e-07" in done.stdout
    )


@pytest.mark.parametrize("kind", ["plain", "ckks"])
def test_a_set_up_that_does_not_exist_cannot_be_missed(kind: str, tmp_path: Path) -> None:
    keys = f'channel = {{ kind = "{kind}" }}\nsimulate = {{ missing = [1] }}\n'
    done = call("validate", scenario_file(tmp_path, QUICK + keys), cwd=tmp_path)
    refused(done, 2, f"simulate.missing: {kind} has no set-up that a client could miss")
