"""Build the documentation site into build/site, strictly; `make docs` runs this.

Pages are read in two places: in the repository, where a link may lead to any file, and on the site, which has nothing
outside its folder. So they are copied to build/pages with all files that they link to, the files that those link to and
so on; links follow, and code becomes a page.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tables import expanded

ROOT = Path(__file__).parents[2]
DOCS, README = ROOT / "docs", ROOT / "README.md"
PAGES = (".css", ".md", ".png", ".svg")
CODE = {".csv": "text", ".json": "json", ".jsonl": "json", ".py": "python", ".toml": "toml"}
FENCED = re.compile(r"(^ *```.*?^ *```$)", re.S | re.M)
LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")


def copy_pages(folder: Path) -> None:
    """Copy docs/ and all that it links to into an empty folder."""
    left, done = [file for file in DOCS.rglob("*") if file.suffix in PAGES], {README}  # the site has index.md
    while left:
        file = left.pop()
        if file in done:
            continue
        done.add(file)
        target = folder / place(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".md":
            text, linked = with_links(expanded(file.read_text()), file)
            target.write_text(text)
            left += linked
        elif file.suffix in CODE:
            code = f"````{CODE[file.suffix]}\n{file.read_text()}````"
            target.write_text(f"# {file.name}\n\n`{file.relative_to(ROOT)}`\n\n{code}\n")
        else:
            shutil.copyfile(file, target)


def place(file: Path) -> Path:
    """Return where a file of the repository lies among the pages."""
    if file == README:
        return Path("index.md")
    path = file.relative_to(DOCS if file.is_relative_to(DOCS) else ROOT)
    return path.with_name(f"{path.name}.md") if path.suffix in CODE else path


def with_links(text: str, page: Path) -> tuple[str, list[Path]]:
    """Return a page whose links lead to the copies, and the files that it links to."""
    linked = []

    def follow(found: re.Match[str]) -> str:
        path, hash_, anchor = found[0].partition("#")
        if not path or ":" in path:
            return found[0]
        target = (page.parent / path).resolve()
        if target.is_dir():  # of data: no page shows it
            target = target / "README.md" if (target / "README.md").exists() else page
        linked.append(target)
        return os.path.relpath(place(target), place(page).parent) + hash_ + anchor

    parts = FENCED.split(text)
    parts[::2] = [LINK.sub(follow, part) for part in parts[::2]]
    return "".join(parts), linked


def main() -> None:
    """Copy the pages and build the site; exit as the builder does."""
    pages = ROOT / "build/pages"
    shutil.rmtree(pages, ignore_errors=True)
    copy_pages(pages)
    zensical = Path(sys.executable).with_name("zensical")
    done = subprocess.run(
        [zensical, "build", "--strict", "--config-file", ROOT / "mkdocs.yml"],
        cwd=ROOT,
        check=False,
    )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
