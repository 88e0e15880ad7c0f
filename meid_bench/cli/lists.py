"""Options that take a list: names or numbers with commas between them."""

import click


def names_in(text: str | None) -> list[str]:
    """The names of a comma-separated list; none where nothing was given."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def numbers_in(text: str, option: str) -> list[int]:
    """The whole numbers of a comma-separated list.

    Raises:
        click.BadParameter: One is none.
    """
    try:
        return [int(number) for number in names_in(text)]
    except ValueError as error:
        message = f"{text!r} is no list of whole numbers"
        raise click.BadParameter(message, param_hint=option) from error
