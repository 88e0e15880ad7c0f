"""The tree in docs/code.md: every file of the packages, with the first line of its docstring.

    python tools/code_map.py            writes it
    python tools/code_map.py --check    exits with 1 where it is not what the files say

Rooms come top first: what is lower down knows nothing of what is above it.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "code.md"
BEGIN, END = "<!-- tree -->\n", "<!-- end of tree -->\n"
ROOMS = ("cli", "inference", "training", "results", "methods", "features", "benchmark")


def told(file: Path) -> str:
    """First line of a file's docstring, without the name it begins with and the full stop."""
    line = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n")[0]
    return line.removesuffix(".")


def lines_of(folder: Path, title: str) -> list[str]:
    """A folder's heading, a line for each of its files, then the folders in it."""
    lines = [f"{title:<28}{told(folder / '__init__.py')}"]
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py":
            lines.append(f"  {file.name:<26}{told(file)}")
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        if inner.name not in ROOMS:
            lines += [f"  {line}" for line in lines_of(inner, f"{inner.name}/")]
    return lines


def tree() -> str:
    """The whole tree as a code block."""
    package = ROOT / "meid_bench"
    blocks = [lines_of(package / room, f"meid_bench/{room}/") for room in ROOMS]
    blocks.append(lines_of(package, "meid_bench/"))
    blocks += [lines_of(ROOT / name, f"{name}/") for name in ("baselines", "meid")]
    return "```\n" + "\n\n".join("\n".join(block) for block in blocks) + "\n```\n"


def main() -> None:
    """Write the tree, or compare it."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    wanted = before + BEGIN + tree() + END + rest.split(END)[1]
    if "--check" not in sys.argv:
        DOCUMENT.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        sys.exit("docs/code.md shows another tree than the files; run `python tools/code_map.py`")


if __name__ == "__main__":
    main()
