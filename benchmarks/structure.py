"""Measure size and imports of the package: `python benchmarks/structure.py [--repo CHECKOUT] [--out FILE.md]`.

A part, in the code `room`, is a folder or file directly below `advdistill/`. An import between parts, in the code
`arrow`, is a pair of a part and another part that it imports.
"""

import argparse
import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from receipt import receipt

MANY = 9  # parameters
CAPTION = (
    "A part is a folder or file directly below the package's folder; an import between parts counts once for each pair "
    "of a part and another part that it imports."
)


def main(repo: Path, out: Path | None) -> int:
    files = {path: ast.parse(path.read_text()) for path in sorted((repo / "advdistill").rglob("*.py"))}
    lines = {path: path.read_text().count("\n") for path in files}
    named = Counter(name for tree in files.values() for name in _definitions(tree))
    figures = {
        "files": len(files),
        "lines": sum(lines.values()),
        "median of lines per file": median(lines.values()),
        "files of fewer than 30 lines": sum(count < 30 for count in lines.values()),
        "parts": len({_part(repo, path) for path in files}),
        "imports between parts": len(_imports_between(repo, files)),
        f"functions with {MANY} or more parameters": len(list(_crowded(files))),
        "files that mention one method, peeraid": sum("peeraid" in path.read_text().lower() for path in files),
        "top-level names defined in several files": sum(count > 1 for count in named.values()),
        "the most frequent of these names": ", ".join(f"{name} {count}" for name, count in named.most_common(5)),
    }
    text = "\n".join(["| what | figure |", "|---|---:|", *(f"| {what} | {found} |" for what, found in figures.items())])
    print(f"{text}\n\n{receipt()}")
    for path, function, count in _crowded(files):
        print(f"{path.relative_to(repo)}: {function} has {count} parameters", file=sys.stderr)
    if out:
        out.write_text(f"# The structure of the package\n\n{text}\n\n{CAPTION}\n\n{receipt()}\n")
    return 0


def _part(repo: Path, path: Path) -> str:
    return path.relative_to(repo / "advdistill").parts[0].removesuffix(".py")


def _definitions(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name


def _crowded(files: dict[Path, ast.Module]) -> Iterator[tuple[Path, str, int]]:
    for path, tree in files.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = len([one for one in parameters if one.arg not in ("self", "cls")])
                if count >= MANY:
                    yield path, node.name, count


def _imports_between(repo: Path, files: dict[Path, ast.Module]) -> set[tuple[str, str]]:
    found = defaultdict(set)
    for path, tree in files.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                found[_part(repo, path)] |= set(_imported(repo, path, node))
    return {(room, other) for room, others in found.items() for other in others if other != room}


def _imported(repo: Path, path: Path, node: ast.ImportFrom) -> Iterator[str]:
    if node.level:
        home = path.relative_to(repo).parent.parts
        parts = [*home[: len(home) - node.level + 1], *(node.module or "").split(".")]
    else:
        parts = (node.module or "").split(".")
    if parts[0] == "advdistill":
        below = [part for part in parts[1:] if part]
        yield from [below[0]] if below else (alias.name for alias in node.names)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repo", type=Path, default=Path(__file__).parents[1], help="a checkout")
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    sys.exit(main(**vars(parser.parse_args())))
