"""Which frames are taken, and that every odd and broken file has its account."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meid_bench.errors import DataError, SettingError
from meid_bench.video import DECODERS, DecodedFrames, decode_video, decoder_version, frame_indices
from tests.made_videos import FRAMES, Odd, picture, write_video

REAL = Path(__file__).parents[2] / "shared" / "data" / "videos"
T = 8


def installed(decoder: str) -> bool:
    try:
        decoder_version(decoder)
    except DataError:
        return False
    return True


OTHERS = [decoder for decoder in DECODERS[1:] if installed(decoder)]


def decode(path: Path, frames: int = T, **options: Any) -> tuple[DecodedFrames, dict[int, Any]]:
    kept: dict[int, Any] = {}

    def keep(number: int, frame: Any) -> None:
        kept[number] = frame.copy()

    return decode_video(path, frames, keep, **options), kept


@pytest.mark.parametrize("frames", [1, 2, 3, 8, 150, 200])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 199, 200, 201, 731, 10_000])
def test_indices_are_the_centres_of_equal_segments(n: int, frames: int) -> None:
    index = frame_indices(n, frames)
    centres = [Fraction(2 * i + 1, 2) * n / frames for i in range(frames)]
    assert index.tolist() == [centre.numerator // centre.denominator for centre in centres]
    assert 0 <= index[0] <= index[-1] < n
    if n >= frames:
        assert len(set(index.tolist())) == frames


def test_indices_are_exact_where_floats_are_not() -> None:
    steps = np.arange(150, dtype=np.float32) + np.float32(0.5)
    by_floats = [(steps * np.float32(n / 150)).astype(int) for n in range(1, 1000)]
    exact = [frame_indices(n, 150) for n in range(1, 1000)]
    assert any(not np.array_equal(a, b) for a, b in zip(by_floats, exact, strict=True))


@pytest.mark.parametrize(("n", "frames"), [(0, 8), (8, 0)])
def test_no_frames_have_no_indices(n: int, frames: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        frame_indices(n, frames)


def test_the_frames_taken_are_the_pictures_encoded(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "exact.mkv", codec="libx264rgb", pix_fmt="rgb24", options={"qp": "0"}
    )
    decoded, kept = decode(path)
    for number, frame in enumerate(decoded.distinct):
        assert np.array_equal(kept[number], picture(int(frame), (64, 48)))
    assert np.allclose(decoded.time, decoded.index / 12, atol=1e-3)


def test_every_file_of_the_zoo_has_its_account(zoo: dict[str, Odd]) -> None:
    wrong = []
    for name, odd in zoo.items():
        try:
            decoded, _ = decode(odd.path)
            fine = decoded.num_frames == odd.frames and (decoded.num_damaged > 0) == odd.damaged
            account = f"{decoded.num_frames} frames, {decoded.num_damaged} damaged"
        except DataError as error:
            account = str(error)
            fine = odd.frames is None and odd.reason in account
        if not fine:
            wrong.append(f"{name}: {account}")
    assert not wrong


def test_skipping_takes_the_frames_that_decoding_all_takes(zoo: dict[str, Odd]) -> None:
    for name, odd in zoo.items():
        if odd.frames is None:
            continue
        quick, frames = decode(odd.path)
        slow, all_frames = decode(odd.path, sequential=True)
        assert np.array_equal(quick.index, slow.index), name
        assert np.allclose(quick.time, slow.time), name
        assert quick.num_damaged == slow.num_damaged, name
        assert frames.keys() == all_frames.keys(), name
        for number in frames:
            assert np.array_equal(frames[number], all_frames[number]), name


def test_fewer_frames_than_wanted_are_repeated(zoo: dict[str, Odd]) -> None:
    decoded, kept = decode(zoo["one.mp4"].path)
    assert decoded.index.tolist() == [0] * T
    assert decoded.rows.tolist() == [0] * T
    assert list(kept) == [0]


def test_frames_stand_upright(zoo: dict[str, Odd]) -> None:
    _, upright = decode(zoo["sound.mp4"].path)
    _, rotated = decode(zoo["rotated.mp4"].path)
    assert np.array_equal(rotated[0], np.rot90(upright[0]))


@pytest.mark.parametrize("decoder", OTHERS)
def test_decoders_agree_to_the_bit(zoo: dict[str, Odd], decoder: str) -> None:
    compared = 0
    for name, odd in zoo.items():
        if odd.frames is None or decoder not in odd.agree:
            continue
        ours, frames = decode(odd.path)
        theirs, same = decode(odd.path, decoder=decoder)
        assert np.array_equal(ours.index, theirs.index), name
        assert np.allclose(ours.time, theirs.time, atol=1e-3), name
        for number in frames:
            assert np.array_equal(frames[number], same[number]), name
        compared += 1
    assert compared >= 8


@pytest.mark.parametrize("decoder", OTHERS)
def test_other_decoders_report_what_they_cannot_read(zoo: dict[str, Odd], decoder: str) -> None:
    for name in ("empty.mp4", "text.mp4", "audio.mp4", "cut5.mp4"):
        with pytest.raises(DataError):
            decode(zoo[name].path, decoder=decoder)


@pytest.mark.skipif("decord" not in OTHERS, reason="decord is not installed")
def test_decord_is_not_to_be_trusted_with_edit_lists(zoo: dict[str, Odd]) -> None:
    # Why it is not the default: seven frames that no player shows, and no word of it.
    decoded, _ = decode(zoo["editlist.mp4"].path, decoder="decord")
    assert decoded.num_frames == FRAMES != zoo["editlist.mp4"].frames


def test_a_missing_file_and_an_unknown_decoder() -> None:
    with pytest.raises(DataError, match=r"there is no file gone\.mp4"):
        decode(Path("gone.mp4"))
    with pytest.raises(SettingError, match="did you mean 'pyav'"):
        decode(Path("gone.mp4"), decoder="pyavv")
    with pytest.raises(SettingError, match="did you mean 'pyav'"):
        decoder_version("pyavv")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not here")
def test_real_files() -> None:
    frames = {"nasa_13013": 390, "nasa_13013_rotated": 17, "unordered": 4, "video_90": 3}
    for stem, count in frames.items():
        path = next(REAL.glob(f"{stem}.*"))
        decoded, kept = decode(path)
        slow, all_kept = decode(path, sequential=True)
        assert (decoded.num_frames, decoded.num_damaged) == (count, 0)
        assert np.array_equal(decoded.time, slow.time)
        assert all(np.array_equal(kept[number], all_kept[number]) for number in kept)
    corrupted, _ = decode(REAL / "corrupted.mp4")
    assert corrupted.num_frames == 49
    assert corrupted.num_damaged == 2
