"""One static HTML page from a run folder, or from a folder of audits."""

from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from securefl.errors import RunFolderError, ScenarioError
from securefl.files import write_atomic
from securefl.runs.folder import RunFolder
from securefl.ui.report.audits import audits_in
from securefl.ui.report.document.signs import allowed
from securefl.ui.report.document.write import document_files, write_files
from securefl.ui.report.lines import VALIDATION as VALIDATION
from securefl.ui.report.runs import runs_in
from securefl.ui.report.security import policy


def write_report(path: Path) -> Path:
    """Writes report/index.html into a run folder or a folder of audits, and returns its path.

    Guarantees:
        - Nothing else on the disk is changed.
        - The same files give the same bytes: the page holds no date but those of the runs.

    Raises:
        ScenarioError: `path` is no such folder.
        RunFolderError: the folder is damaged or cannot be written.
    """
    audits = audits_in(path)
    if not audits and not RunFolder.is_at(path):
        raise ScenarioError(f"{path} is not a run folder, and holds no audits")
    run = runs_in(path) if RunFolder.is_at(path) else None
    # Labels and scenarios are what users wrote: everything is escaped, and a forgotten value is an
    # error instead of an empty cell.
    environment = Environment(
        loader=PackageLoader("securefl.ui.report", "."),
        autoescape=select_autoescape(["html", "j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _part("script.js")
    page = environment.get_template("page.html.j2").render(
        name=path.name or path.resolve().name,
        run=run,
        audits=audits,
        style=_part("style.css"),
        script=script,
        policy=policy(script),
    )
    target = path / "report" / "index.html"
    documents = document_files([a.findings for a in audits], [a.document for a in audits])
    _write(target, page, documents)
    return target


def _part(name: str) -> str:
    """The text of a file of the page, which goes into it as it is."""
    return files("securefl.ui.report").joinpath(name).read_text(encoding="utf-8")


def _write(target: Path, page: str, documents: dict[str, bytes]) -> None:
    # A link would lead the page out of the folder.
    if target.parent.is_symlink():
        raise RunFolderError(f"cannot write {target}: {target.parent} is a link")
    try:
        target.parent.mkdir(exist_ok=True)
        write_files(target.parent, documents)
        # JSON may hold halves of characters, which are no text.
        write_atomic(target, allowed(page).encode())
    except OSError as reason:
        raise RunFolderError(f"cannot write {target}: {reason.strerror}") from None
