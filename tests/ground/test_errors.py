"""An unknown name is answered with the nearest one, or with the names there are, up to a point."""

from meid_bench.errors import LISTED, unknown


def test_nearest_name_is_offered():
    assert str(unknown("method", "ldma", ["ldam", "eql"])) == (
        "There is no method 'ldma'; did you mean 'ldam'?"
    )


def test_known_names_are_listed_where_none_is_near():
    assert str(unknown("method", "zzz", ["b", "a"])).endswith("known: a, b")
    assert str(unknown("method", "zzz", [])).endswith("known: none")


def test_thousands_of_names_do_not_bury_the_sentence():
    message = str(unknown("video", "?", [f"id{number:05d}" for number in range(4000)]))
    assert message.endswith(f"id{LISTED - 1:05d} and {4000 - LISTED:,} more")
