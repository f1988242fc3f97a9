"""Lays out the pages of the site: `python -m website.stage FOLDER`.

The pages in docs/ link to files of the repository, such as SECURITY.md and the examples. A site has
no repository next to it, and none has a public address. So every file that a page links to becomes
a page of the site, and the links are rewritten. A link that leads nowhere stops the build.
"""

import posixpath
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Pages at the top of the repository -> what they are called on the site. A README.md would be taken
# for the first page.
TOP = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
# Packages whose public names have a page each, in the order of the site.
DOORS = ("securefl", "defenses", "attacks", "securefl.audit", "securefl.testing")
# What a browser shows or saves as it is; other files are shown as code.
_AS_IT_IS = {".ipynb", ".svg", ".csv", ".png"}
_LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".service": "ini"}
# A fenced block, a code span, or a link. Only links are rewritten.
_FENCE = r"^(?P<fence> *```).*?^(?P=fence) *$"
_LINK = r"(?:\[(?P<text>[^\[\]]+))?\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)"
_PARTS = re.compile(rf"{_FENCE}|(?P<ticks>`+)[^`].*?(?P=ticks)|{_LINK}", re.S | re.M)
# "0.743 ± 0.009" or "[-0.306, +0.205]".
_FIGURE = re.compile(r"[-+]?[\d.]+ ± [\d.]+|\[[-+]?[\d.]+, [-+]?[\d.]+\]")


class BrokenLink(Exception):
    """A page links to a file that does not exist."""


def pages() -> dict[str, str]:
    """Returns every page that people wrote: its path in the repository -> on the site."""
    own = sorted((ROOT / "docs").rglob("*.md"))
    inside = {page.relative_to(ROOT).as_posix(): page for page in own}
    return {**TOP, **{path: path.removeprefix("docs/") for path in inside}}


def api_pages() -> dict[str, str]:
    """Returns the pages made from docstrings: path on the site -> text."""
    return {f"api/{door}.md": f"# {door}\n\n::: {door}\n" for door in DOORS}


def stage(folder: Path) -> None:
    """Writes the pages and the configuration of the site into a folder that does not exist yet.

    Raises:
        BrokenLink: a page links to a file that does not exist.
        FileExistsError: the folder exists.
    """
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "website/zensical.toml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("*.md"))
    for name in ("style.css", "iframe-worker.js"):
        shutil.copy(ROOT / "website" / name, folder / "docs")
    files: set[str] = set()
    for path, site_path in pages().items():
        text = (ROOT / path).read_text(encoding="utf-8")
        _write(folder, site_path, unbroken(rewritten(text, path, files)))
    for site_path, text in api_pages().items():
        _write(folder, site_path, text)
    for path in sorted(files):
        _stage_file(folder, path)


def rewritten(text: str, page: str, files: set[str]) -> str:
    """Returns a page's text with links that work on the site.

    Args:
        text: Markdown.
        page: the page's path in the repository.
        files: gets the path of every linked file and folder outside docs/.
    """
    here = posixpath.dirname(site_path_of(page))

    def replaced(match: re.Match[str]) -> str:
        target = match["target"]
        if target is None or re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
        if path.startswith("..") or not (ROOT / path).exists():
            raise BrokenLink(f"{page} links to {target}, which does not exist")
        if path not in TOP and not path.startswith("docs/"):
            files.update([path, *_inside(path)])
        link = posixpath.relpath(site_path_of(path), here or ".")
        return f"{_text(match, path)}]({link}{match['anchor'] or ''})"

    return _PARTS.sub(replaced, text)


def unbroken(text: str) -> str:
    """Returns a page's text in whose tables no line ends within a figure or an interval."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line.startswith("|"):
            lines[number] = _FIGURE.sub(lambda match: match[0].replace(" ", "\u00a0"), line)
    return "\n".join(lines)


def _text(match: re.Match[str], path: str) -> str:
    """The text of a link, from its bracket on. Where it names the file, it becomes the title."""
    text = match["text"]
    if text is None:
        return ""
    if not path.endswith(".md") or posixpath.basename(text) != posixpath.basename(path):
        return f"[{text}"
    return "[" + title_of((ROOT / path).read_text(encoding="utf-8"))


def title_of(text: str) -> str:
    """Returns the first heading of a page."""
    (title,) = re.findall(r"\A# (.+)$", text, re.M)[:1]
    return str(title)


def site_path_of(path: str) -> str:
    """Returns where a file or folder of the repository is on the site."""
    if path in TOP:
        return TOP[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if (ROOT / path).is_dir():
        return f"files/{path}/index.md"
    return f"files/{path}" if Path(path).suffix in _AS_IT_IS else f"files/{path}.md"


def _inside(path: str) -> Iterator[str]:
    """The files and folders in a folder, without those that programs leave behind."""
    for entry in sorted((ROOT / path).rglob("*")):
        if not any(
            part.startswith((".", "__pycache__")) for part in entry.parts[len(ROOT.parts) :]
        ):
            yield entry.relative_to(ROOT).as_posix()


def _stage_file(folder: Path, path: str) -> None:
    source, site_path = ROOT / path, site_path_of(path)
    if source.is_dir():
        here = posixpath.dirname(site_path)
        names = [name for name in _inside(path) if (ROOT / name).parent == source]
        links = [
            f"- [{posixpath.basename(name)}]({posixpath.relpath(site_path_of(name), here)})"
            for name in names
        ]
        _write(folder, site_path, f"# {path}/\n\n" + "\n".join(links) + "\n")
    elif source.suffix in _AS_IT_IS:
        target = folder / "docs" / site_path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    else:
        code = source.read_text(encoding="utf-8")
        language = _LANGUAGES.get(source.suffix, "text")
        _write(folder, site_path, f"# {path}\n\n````{language}\n{code.rstrip()}\n````\n")


def _write(folder: Path, site_path: str, text: str) -> None:
    target = folder / "docs" / site_path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        stage(Path(sys.argv[1]))
    except BrokenLink as refusal:
        sys.exit(f"error: {refusal}")
