"""Print every row of a board beside one of its own section, with intervals, as markdown.

    python tools/methods_table.py charadesegolt --than plain [--root DIR]

docs/methods.md has such a table; there is how its runs were made.
"""

import argparse
from pathlib import Path

from tabulate import tabulate

from meid_bench.number_text import difference_text, interval_text, score_text
from meid_bench.results.board import load_board
from meid_bench.results.board_text import spread_text
from meid_bench.results.comparison import compare
from meid_bench.results.joint_intervals import ConfidenceInterval

MEASURES = ("overall", "tail")


def interval(found: ConfidenceInterval) -> str:
    """Row minus the other, with its interval; bold where the two differ."""
    text = f"{difference_text(-found.difference)} {interval_text(-found.high, -found.low)}"
    return f"**{text}**" if found.differs else text


def main() -> None:
    """Print a table for each section of the board."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--than", default="plain", help="The row to compare the others with.")
    parser.add_argument("--root", type=Path)
    arguments = parser.parse_args()
    board = load_board(arguments.dataset, arguments.root)
    for section in board.sections:
        names = [f"{row.name}/{section.protocol}" for row in section.rows]
        than = f"{arguments.than}/{section.protocol}"
        found = compare(board, [than, *(name for name in names if name != than)])
        lines = []
        for name, row in zip(names, section.rows, strict=True):
            line = {"method": f"`{row.name}`", "seeds": len(row.runs)}
            line |= {measure: spread_text(row.scores[measure]) for measure in MEASURES}
            if name != than:
                for measure in MEASURES:
                    column = f"{measure}, than {arguments.than}"
                    line[column] = interval(found.differences[than, name][measure])
            lines.append(line)
        chance = {measure: score_text(board.chance[measure]) for measure in MEASURES}
        lines.append({"method": "chance", **chance})
        print(f"{section.title}\n")
        print(tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True), end="\n\n")


if __name__ == "__main__":
    main()
