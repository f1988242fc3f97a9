"""What a site notices before it starts."""

import socket
from pathlib import Path

import pytest

from securefl.errors import RunFailed
from securefl.runs.deployed.approving import approve_charter
from securefl.runs.deployed.certificates import server_context
from securefl.runs.deployed.charter import Shared
from securefl.runs.deployed.checking import _connection
from securefl.runs.deployed.federation import admit, found
from securefl.runs.deployed.joining import join
from securefl.runs.deployed.links import DirectLink
from securefl.runs.deployed.site_folder import Folder
from tests.runs.deployed.sites import DP


@pytest.mark.parametrize("left", ["0", "1"])
def test_a_site_whose_certificate_is_not_taken_is_told(left: str, tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = ("127.0.0.1", listener.getsockname()[1])
    invitation = found(Shared(text=DP, overrides=()), address, tmp_path / "fed")
    requests = [join(invitation, f"s{site}", tmp_path / str(site)) for site in range(4)]
    charter = admit(tmp_path / "fed", requests, days=3.0, deadline=5.0)
    approve_charter(tmp_path / "0", charter)
    admitted = [one.certificate for site, one in charter.roster.items() if site != left]
    context = server_context(tmp_path / "fed", admitted)
    link = DirectLink(listener, context, sites=charter.keys, limit=1000)
    folder = Folder.read(tmp_path / "0", charter)
    try:
        if left == "0":
            with pytest.raises(RunFailed, match="does not take this site's certificate"):
                _connection(folder)
        else:
            assert "has the certificate of the invitation's CA" in _connection(folder)
    finally:
        link.close()
