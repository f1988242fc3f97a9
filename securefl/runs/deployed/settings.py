"""`site.toml`: what a site keeps to itself; nothing in it leaves the machine."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from securefl.errors import ScenarioError
from securefl.files import parse_toml, read_text
from securefl.messages import sentences

_Text = Annotated[str, Field(min_length=1, strict=True)]


class _Table(BaseModel):
    """A table of the file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OwnData(_Table):
    """Where the site's own records lie: one file in the form that the charter's schema names."""

    path: _Text | None = None


class Settings(_Table):
    """The keys of `site.toml`.

    witness is a file on another volume that gets a copy of the newest receipt. ledger is a folder
    with the ledgers of data sets that several folders of this site take to federations. relay_user
    is the account that Flower's processes run as. Paths start at the site's folder.
    """

    witness: _Text | None = None
    ledger: _Text | None = None
    relay_user: _Text | None = None
    data: OwnData = OwnData()

    def path_of(self, text: str | None, folder: Path) -> Path | None:
        """Returns the path that a key names; None where it is not given."""
        return None if text is None else folder / text


def load_settings(path: Path) -> Settings:
    """Returns the settings in a file.

    Raises:
        ScenarioError: it cannot be read, is not TOML, or has an unknown key or a wrong value.
    """
    try:
        return Settings(**parse_toml(read_text(path), str(path)))
    except ValidationError as reason:
        lines = sentences(reason, Settings, "the file").splitlines()
        raise ScenarioError("\n".join(f"{path}: {line}" for line in lines)) from None
