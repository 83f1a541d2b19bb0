"""Rewrites what is derived from the registry of methods: `make derive`; with --check it only names stale files.

Derived are the stubs of the public names, and in the documents all lines between `methods:begin` and `methods:end`.
Of a method's page the front matter (`climbs`, `descends`) is read, which the table of the README shows.
"""

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the package of this checkout, whichever is installed

from advdistill import _PLACES, methods  # noqa: E402  found by the line before
from advdistill.methods.fair import ByClass  # noqa: E402  as above
from advdistill.methods.registry import METHODS  # noqa: E402  as above

WIDTH = 120
STUB = '"""The public names, as type checkers read them; derived: `make derive`. `__init__.py` imports on first use."""'
GROUPS = "Without a teacher", "A robust teacher", "A robust and a clean teacher", "By class", "A clean teacher"


def derived() -> dict[Path, str]:
    """The text that each derived file must have."""
    rows = list(zip(METHODS.items(), methods.describe(), strict=True))
    readme = ["| name | attack climbs | student descends | teachers |", "|---|---|---|---|"]
    listed = ["| name | what it is | teachers | forward passes of a step, 10 attack steps |", "|---|---|---|---|"]
    for (name, kind), row in rows:
        front, shown, needed = front_matter(name), row["name"], ", ".join(kind.teachers) or "–"
        readme += [f"| [`{shown}`](docs/methods/{name}.md) | {front['climbs']} | {front['descends']} | {needed} |"]
        listed += [f"| [`{shown}`](methods/{name}.md) | {row['summary']} | {needed} | {row['passes']} |"]
    pages = [
        line
        for title in GROUPS
        for line in (
            f"      - {title}:",
            *(f"          - {row['name']}: methods/{name}.md" for (name, kind), row in rows if group(kind) == title),
        )
    ]
    named = ", ".join(f"`ad.{kind.__name__}`" for kind in METHODS.values())
    reference = [
        f"::: {kind.__module__}.{kind.__name__}\n    options: {{ heading_level: 3, members: false }}\n"
        for kind in METHODS.values()
    ]
    package = ROOT / "advdistill"
    return {
        package / "__init__.pyi": stub(_PLACES) + "__version__: str\n",
        package / "methods" / "__init__.pyi": stub(methods._PLACES)
        + "REGISTRY: dict[str, str]\nCLASSES: dict[str, str]\n_PLACES: dict[str, str]\n",
        **filled(ROOT / "README.md", readme),
        **filled(ROOT / "docs" / "methods.md", listed),
        **filled(ROOT / "docs" / "api" / "index.md", [named]),
        **filled(ROOT / "docs" / "api" / "methods.md", ["", *reference]),
        **filled(ROOT / "mkdocs.yml", pages),
    }


def front_matter(name: str) -> dict[str, str]:
    """The front matter of a method's page."""
    path = ROOT / "docs" / "methods" / f"{name}.md"
    if not path.exists():
        raise SystemExit(f"{path.relative_to(ROOT)} is missing; docs/add_method.md shows how a method's page begins.")
    front: dict[str, str] = yaml.safe_load(path.read_text().split("---\n")[1])
    return front


def group(kind: type[methods.Term]) -> str:
    """Where the navigation has a method: by the teachers that it needs."""
    if issubclass(kind, ByClass):
        return GROUPS[3]
    if kind.teachers == ("clean",):
        return GROUPS[4]
    return GROUPS[2] if "clean" in kind.teachers else GROUPS[1] if "robust" in kind.teachers else GROUPS[0]


def filled(path: Path, lines: list[str]) -> dict[Path, str]:
    """The file with these lines between its marks."""
    block = re.compile(r"(^[^\n]*methods:begin[^\n]*\n).*?(^[^\n]*methods:end)", re.S | re.M)
    text, found = block.subn(lambda marks: marks[1] + "\n".join(lines) + "\n" + marks[2], path.read_text())
    assert found == 1, path
    return {path: text}


def stub(places: dict[str, str]) -> str:
    """A stub that imports every public name from its module, in the order of ruff."""
    found: dict[str, list[str]] = {}
    for place in places.values():
        module, _, name = place.rpartition(".")
        found.setdefault(f".{module}", []).append(name)
    imports = [imported(module, sorted(names, key=rank)) for module, names in sorted(found.items())]
    quoted = ", ".join(f'"{name}"' for name in sorted(places))
    wrapped = "\n".join(f"    {line}" for line in re.findall(rf"(.{{1,{WIDTH - 5}}},)(?: |$)", f"{quoted},"))
    return f"{STUB}\n\n{chr(10).join(imports)}\n\n__all__ = [\n{wrapped}\n]\n"


def imported(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    return line if len(line) <= WIDTH else f"from {module} import (\n    {f',{chr(10)}    '.join(names)},\n)"


def rank(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def main(arguments: list[str]) -> int:
    stale = {path: text for path, text in derived().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        print(path.relative_to(ROOT))
        if "--check" not in arguments:
            path.write_text(text)
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
