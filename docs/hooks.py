"""The site takes in what the documents link to outside docs/: the measured results, and CONTRIBUTING.md."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
RESULTS = ("*.md", "*/*.png", "*/*.html", "studies/*/study.*")
SHOWN = ["CONTRIBUTING.md", *(f"benchmarks/results/{files}" for files in RESULTS)]


def on_files(files, config):
    for path in (path for pattern in SHOWN for path in sorted(ROOT.glob(pattern))):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """On the site those files lie inside docs/, a step nearer."""
    return re.sub(r"\]\(\.\./((?:\.\./)*(?:benchmarks/|CONTRIBUTING))", r"](\1", markdown)
