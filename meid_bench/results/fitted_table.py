"""A table for a terminal: as many columns as fit into its width, notes below it."""

from collections.abc import Mapping, Sequence
from textwrap import fill

from tabulate import tabulate

WIDTH = 100
NAME_WIDTH = 24  # a longer name, of parts between slashes, takes several lines


def fitted_table(
    lines: Sequence[Mapping[str, str]],
    notes: Sequence[Sequence[str]],
    width: int = WIDTH,
    optional: Sequence[str] = (),
) -> str:
    """Lines as a table of at most `width` characters, where leaving out columns can do it.

    Args:
        lines: Column to text, the same columns in each; "method" may take several lines. A column
            that says nothing in any line is left out: it only takes room.
        notes: Of each line, sentences; a letter stands for each, and they stand below the table.
        width: In characters.
        optional: Columns that may be left out, the first one first; which were is said.
    """
    texts = dict.fromkeys(text for of_line in notes for text in of_line)
    letters = {text: _letter(number) for number, text in enumerate(texts)}
    rows = [
        {**line, "method": _folded(line["method"])}
        | {"notes": " ".join(letters[text] for text in of_line)}
        for line, of_line in zip(lines, notes, strict=True)
    ]
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    left_out: list[str] = []
    candidates = [name for name in optional if name in columns]
    while candidates and _width(_drawn(rows, columns)) > width:
        left_out.append(candidates.pop(0))
        columns.remove(left_out[-1])
    below = [
        fill(text, width, initial_indent=f"{letter}  ", subsequent_indent="   ")
        for text, letter in letters.items()
    ]
    if left_out:
        below.append(
            f"Too wide for {width} columns, and in the other formats: {', '.join(left_out)}"
        )
    return "\n".join([_drawn(rows, columns), *below])


def _drawn(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> str:
    cells = [list(columns), *([row[name] for name in columns] for row in rows)]
    # Not as tabulate's headers: it makes their columns two characters wider than they need be.
    rule = ["-" * max(map(_width, column)) for column in zip(*cells, strict=True)]
    return tabulate([cells[0], rule, *cells[1:]], tablefmt="plain", disable_numparse=True)


def _width(text: str) -> int:
    return max(map(len, text.splitlines()), default=0)


def _letter(number: int) -> str:
    return chr(ord("a") + number % 26) * (1 + number // 26)


def _folded(name: str) -> str:
    """A name on as many lines as it takes, broken before slashes."""
    first, *parts = name.split("/")
    lines = [first]
    for part in parts:
        if len(lines[-1]) + len(part) + 1 > NAME_WIDTH:
            lines.append("")
        lines[-1] += f"/{part}"
    return "\n".join(lines)
