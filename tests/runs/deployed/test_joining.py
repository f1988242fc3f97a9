"""A site's folder: its keys, its request and its templates."""

import os
import stat
import tomllib
from pathlib import Path

import pytest

from securefl.errors import RunFolderError, ScenarioError
from securefl.federation.policy import Policy, load_policy
from securefl.runs.deployed import keys
from securefl.runs.deployed.certificates import site_context
from securefl.runs.deployed.charter import Shared
from securefl.runs.deployed.invitation import Invitation, JoinRequest
from securefl.runs.deployed.joining import join, make_keys
from securefl.runs.deployed.keys import NODE_KEY, SIGNING_KEY, node_key, signing_key
from tests.runs.deployed.parties import SGD

INVITATION = Invitation(
    version=1,
    host="example.org",
    port=9092,
    authority="PEM",
    server="00" * 32,
    shared=Shared(text=SGD, overrides=()),
)
SECRET = b"open sesame"


def test_a_site_has_private_keys_a_signed_request_and_templates(tmp_path: Path) -> None:
    site = tmp_path / "site"
    request = join(INVITATION, "zurich", site)
    assert JoinRequest.read(site / "request.json") == request
    request.check(INVITATION)
    assert Invitation.read(site / "invitation.json") == INVITATION
    assert stat.S_IMODE(site.stat().st_mode) == 0o700
    for name in (SIGNING_KEY, NODE_KEY):
        assert stat.S_IMODE((site / name).stat().st_mode) == 0o600
        assert b"PRIVATE" in (site / name).read_bytes()
    assert "PRIVATE" not in (site / "request.json").read_text()
    tomllib.loads((site / "site.toml").read_text())


@pytest.mark.parametrize("content", ["-----BEGIN PRIVATE KEY-----\nhush", '["hush"]', '"hush"'])
def test_a_file_that_is_no_invitation_is_not_quoted(content: str, tmp_path: Path) -> None:
    file = tmp_path / "signing.pem"
    file.write_text(content)
    with pytest.raises(RunFolderError, match="is no invitation of version 1: the file: ") as seen:
        Invitation.read(file)
    assert "hush" not in str(seen.value)


def test_the_template_of_the_policy_is_the_strict_default(tmp_path: Path) -> None:
    join(INVITATION, "zurich", tmp_path / "site")
    assert load_policy(tmp_path / "site/policy.toml") == Policy()


def test_keys_that_were_made_before_are_used(tmp_path: Path) -> None:
    make_keys(tmp_path / "site")
    public = signing_key(tmp_path / "site").public_key().public_bytes_raw()
    assert join(INVITATION, "zurich", tmp_path / "site").key == public.hex()


def test_a_site_joins_once(tmp_path: Path) -> None:
    join(INVITATION, "zurich", tmp_path / "site")
    with pytest.raises(ScenarioError, match="site has joined already"):
        join(INVITATION, "basel", tmp_path / "site")


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="exists; choose another folder"):
        join(INVITATION, "zurich", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "Zurich", "../x", "a" * 32, "zurich\n", "-x"])
def test_a_name_that_is_no_file_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot name a site: use up to 31 lower-case letters"):
        join(INVITATION, name, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_passphrase_protects_both_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    make_keys(site, SECRET)
    for name in (SIGNING_KEY, NODE_KEY):
        assert b"ENCRYPTED" in (site / name).read_bytes()
    monkeypatch.setenv(keys.PASSPHRASE, SECRET.decode())
    assert signing_key(site)
    assert node_key(site)
    monkeypatch.setenv(keys.PASSPHRASE, "wrong")
    with pytest.raises(RunFolderError, match=r"the passphrase does not open .*identity\.pem"):
        signing_key(site)


def test_without_terminal_or_variable_a_passphrase_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_keys(tmp_path / "site", SECRET)
    monkeypatch.delenv(keys.PASSPHRASE, raising=False)
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        with pytest.raises(RunFolderError, match="needs a passphrase: set SECUREFL_PASSPHRASE"):
            signing_key(tmp_path / "site")


def test_a_key_of_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    site = tmp_path / "site"
    make_keys(site)
    (site / SIGNING_KEY).rename(site / "other")
    (site / NODE_KEY).rename(site / SIGNING_KEY)
    (site / "other").rename(site / NODE_KEY)
    with pytest.raises(RunFolderError, match="is not an Ed25519 key"):
        signing_key(site)
    with pytest.raises(RunFolderError, match="is not a P-384 key"):
        node_key(site)
    (site / NODE_KEY).write_bytes(b"damaged")
    with pytest.raises(RunFolderError, match=r"node\.pem is missing or damaged"):
        node_key(site)
    (site / NODE_KEY).unlink()
    with pytest.raises(RunFolderError, match=r"node\.pem is missing or damaged"):
        node_key(site)


def test_a_site_without_a_certificate_says_so(tmp_path: Path) -> None:
    join(INVITATION, "zurich", tmp_path / "site")
    with pytest.raises(
        RunFolderError, match=r"in .*site is missing or damaged, or the certificate"
    ):
        site_context(tmp_path / "site")
