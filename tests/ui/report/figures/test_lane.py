"""Who saw what: the words of transcripts, where noise is added, whom a claim holds against."""

from pathlib import Path
from typing import Any

from securefl.channels.protocol import Seen
from securefl.ui.report.figures.lane import MOST_LANES, lanes
from securefl.ui.report.figures.seen import observed
from securefl.ui.report.figures.settings import settings_in
from tests.ui.report.figures.folders import Made, folder_of, metrics_of

PLAIN = 'rounds = 2\ntraining = { kind = "sgd" }\n'
LOCAL = "rounds = 2\nprivacy = { epsilon = 3.0 }\n"
CENTRAL = (
    'rounds = 2\ntraining = { kind = "clipped_gradient", lr = 1.0, clip = 1.0 }\n'
    'privacy = { epsilon = 3.0, place = "central", noise = "seeded" }\n'
)
SHARED = (
    'rounds = 2\ntraining = { kind = "clipped_gradient", lr = 1.0, clip = 1.0 }\n'
    'privacy = { epsilon = 3.0, place = "distributed", noise = "seeded" }\n'
    'channel = { kind = "masked" }\n'
)


def line(party: str, kind: str, about: list[int], size: int = 8, round: int = 0) -> dict[str, Any]:
    return {
        "round": round,
        "party": party,
        "kind": kind,
        "about": about,
        "shape": [2],
        "bytes": size,
    }


LINES = [
    line("server", Seen.GLOBAL_MODEL, []),
    line("client 0", Seen.GLOBAL_MODEL, []),
    line("client 1", Seen.GLOBAL_MODEL, []),
    line("network", Seen.MASKED_UPDATE, [0], 12),
    line("network", Seen.MASKED_UPDATE, [1], 12),
    line("server", Seen.SUM_OF_UPDATES, [0, 1], 8),
    line("server", Seen.SUM_OF_UPDATES, [0], 8, round=1),
]


def texts(svg: str) -> list[str]:
    return [part.partition("<")[0] for part in svg.split(">") if part.partition("<")[0]]


def lane_of(tmp_path: Path, text: str, lines: list[dict[str, Any]], **metrics: Any) -> Any:
    made = Made("run", text, metrics=metrics_of(0.8, **metrics), extra={"transcript.jsonl": lines})
    return lanes(settings_in(folder_of(tmp_path / "run", [made])).all)


def test_each_kind_is_counted_with_the_clients_behind_it(tmp_path: Path) -> None:
    (figure,) = lane_of(tmp_path, PLAIN, LINES)
    assert figure.table.rows == [
        ("client", Seen.GLOBAL_MODEL, 0, 0, 2, 16),
        ("network", Seen.MASKED_UPDATE, 1, 1, 2, 24),
        ("server", Seen.GLOBAL_MODEL, 0, 0, 1, 8),
        ("server", Seen.SUM_OF_UPDATES, 1, 2, 2, 16),
    ]
    shown = texts(figure.svg)
    assert "2 clients, each" in shown
    assert f"{Seen.SUM_OF_UPDATES}, of 1 to 2 clients together" in shown
    assert f"{Seen.MASKED_UPDATE}, of one client" in shown
    assert "transcript of 2 rounds" in figure.caption


def test_what_shows_one_client_is_told_from_what_does_not() -> None:
    parties = {party.name: party for party in observed(LINES).parties}
    shown = {
        (name, kind.kind): (kind.is_readable, kind.shows_one_client)
        for name, party in parties.items()
        for kind in party.kinds.values()
    }
    assert shown == {
        ("client", Seen.GLOBAL_MODEL): (True, False),
        ("network", Seen.MASKED_UPDATE): (False, False),
        ("server", Seen.GLOBAL_MODEL): (True, False),
        # One of the sums was of a single client.
        ("server", Seen.SUM_OF_UPDATES): (True, True),
    }
    (server,) = observed([line("server", Seen.CLEAR_UPDATE, [3])]).parties
    assert server.kinds[Seen.CLEAR_UPDATE].shows_one_client
    # Its own update is no secret to a client.
    (client,) = observed([line("client 3", Seen.OWN_UPDATE, [3])]).parties
    assert not client.kinds[Seen.OWN_UPDATE].shows_one_client


def test_parties_stand_in_the_order_in_which_an_update_meets_them() -> None:
    lines = [line(name, "x", []) for name in ("top", "server", "later", "network", "client 2")]
    names = [party.name for party in observed(lines).parties]
    assert names == ["client", "network", "top", "server", "later"]


def test_noise_is_where_the_scenario_adds_it(tmp_path: Path) -> None:
    places = {
        "local": (LOCAL, "noise is added here, by each client to its own", 0),
        "distributed": (SHARED, "noise is added here: each client adds its share", 0),
        "central": (CENTRAL, "noise is added here, to what was opened", 2),
    }
    for place, (text, words, box) in places.items():
        (figure,) = lane_of(tmp_path / place, text, LINES)
        shown = texts(figure.svg)
        heads = [
            index
            for index, part in enumerate(shown)
            if part.startswith(("2 clients", "Whoever", "The server", "The model"))
        ]
        noise = next(index for index, part in enumerate(shown) if part.startswith(words))
        assert heads[box] < noise < heads[box + 1]


def test_whom_a_claim_holds_against_is_said_in_the_words_of_the_claim(tmp_path: Path) -> None:
    (figure,) = lane_of(tmp_path, SHARED, LINES, noise="seeded", epsilon=3.0)
    shown = " ".join(texts(figure.svg))
    assert "the claim holds against the server together with up to 1 client of a sum" in shown
    assert "epsilon at most 3, for one training record" in shown
    assert "anybody with the seed can remove it" in shown


def test_a_run_without_a_claim_says_so(tmp_path: Path) -> None:
    (figure,) = lane_of(tmp_path, PLAIN, LINES)
    assert "No noise: differential privacy is not claimed." in texts(figure.svg)
    assert "noise is added" not in figure.svg


def test_words_of_a_later_version_are_shown_and_lines_of_another_form_counted(
    tmp_path: Path,
) -> None:
    later = [*LINES, line("ghost", "<b>new kind</b>", [1]), {"round": 3, "who": "server"}]
    (figure,) = lane_of(tmp_path, PLAIN, later)
    assert "ghost" in texts(figure.svg)
    assert "&lt;b&gt;new kind&lt;/b&gt;, of one client" in figure.svg
    assert "1 lines that this version cannot read" in figure.caption


def test_settings_that_go_the_same_way_share_a_figure(tmp_path: Path) -> None:
    extra = {"transcript.jsonl": LINES}
    cells = [
        Made("a", PLAIN, metrics=metrics_of(0.8), extra=extra),
        Made("b", PLAIN, metrics=metrics_of(0.8), extra=extra),
        Made("c", LOCAL, metrics=metrics_of(0.8), extra=extra),
        Made("d", LOCAL.replace("3.0", "8.0"), metrics=metrics_of(0.8), extra=extra),
        Made("e", SHARED, metrics=metrics_of(0.8), extra=extra),
        Made("f", CENTRAL, metrics=metrics_of(0.8), extra=extra),
    ]
    figures = lanes(settings_in(folder_of(tmp_path / "run", cells)).all)
    assert [figure.name for figure in figures] == ["lane", "lane-2", "lane-3", "lane-4"]
    assert len(figures) == MOST_LANES
    assert figures[0].title == "Who saw what: plain channel, no noise"
    assert figures[0].caption.endswith("It is the same for: a; b.")
    assert "epsilon at most 3 to 8, for one training record" in texts(figures[1].svg)
    assert 'id="lane-2' not in figures[0].svg


def test_a_run_without_a_transcript_has_no_lane(tmp_path: Path) -> None:
    assert lane_of(tmp_path, PLAIN, []) == []


def test_a_damaged_transcript_is_no_error(tmp_path: Path) -> None:
    made = Made("run", PLAIN, metrics=metrics_of(0.8), extra={"transcript.jsonl": LINES})
    folder = folder_of(tmp_path / "run", [made])
    file = next(folder.path.glob("cells/*/transcript.jsonl"))
    file.write_text("nonsense\n" + file.read_text())
    assert lanes(settings_in(folder).all) == []
