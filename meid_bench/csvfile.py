"""Text and csv files of others, read so that whatever is wrong is named by file and line."""

import csv
from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path

from meid_bench.errors import DataError

# A cell of a real annotation file is far below this; the csv module's own limit is 128 KiB.
csv.field_size_limit(1 << 24)


def read_text(path: Path) -> str:
    """Read a UTF-8 file, with or without a byte-order mark; line ends are kept as they are.

    Raises:
        DataError: The file is missing or in another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); check that it is there"
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; "
            "save the file in UTF-8 and try again"
        ) from error


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text without surrounding space) of every line that is not blank.

    Raises:
        DataError: As `read_text`.
    """
    for number, line in enumerate(StringIO(read_text(path), newline=None), start=1):
        if text := line.strip():
            yield number, text


def read_rows(path: Path, columns: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, cells by column name) of every row of a csv file with a header.

    Args:
        path: A comma-separated file whose first row names the columns.
        columns: Those that must be there; others are kept as they come.

    Raises:
        DataError: As `read_text`, or a column is missing or twice, or a row has another
            number of cells than the header.
    """
    reader = csv.reader(StringIO(read_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [column for column in columns if column not in header]
        if missing:
            raise DataError(
                f"{path} has no column {missing[0]!r}; its first line must name it "
                f"(found: {', '.join(header) or 'nothing'})"
            )
        if len(set(header)) < len(header):
            raise DataError(f"{path}, line 1: a column is named twice in {', '.join(header)}")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells where the header "
                    f"names {len(header)}; mend or remove that row"
                )
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: not a csv row ({error}); mend or remove it"
        ) from error
