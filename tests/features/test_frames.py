"""Which frames are taken, and that every odd and broken file has its account."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
import pytest
from PIL import Image

from meid_bench.errors import DataError, SettingError
from meid_bench.features.decoders import DECODERS, GPU_DECODER, decode_video, decoder_version
from meid_bench.features.frames import DecodedFrames, FrameRule, frame_indices
from tests.made_videos import FRAMES, Odd, encoded, picture, write_video

REAL = Path(__file__).parents[3] / "shared" / "data" / "videos"
T = 8


def installed(decoder: str) -> bool:
    try:
        decoder_version(decoder)
    except DataError:
        return False
    return True


OTHERS = [name for name in DECODERS[1:] if name != GPU_DECODER and installed(name)]


def decode(path: Path, frames: int = T, **options: Any) -> tuple[DecodedFrames, dict[int, Any]]:
    kept: dict[int, Any] = {}

    def keep(number: int, frame: Any) -> None:
        kept[number] = frame.copy()

    return decode_video(path, FrameRule(frames), keep, **options), kept


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
    assert decoded.numbers.tolist() == [[0]] * T
    assert list(kept) == [0]


def test_frames_stand_upright(zoo: dict[str, Odd]) -> None:
    _, upright = decode(zoo["sound.mp4"].path)
    _, rotated = decode(zoo["rotated.mp4"].path)
    assert np.array_equal(rotated[0], np.rot90(upright[0]))


def deep_video(path: Path, pix_fmt: str, colorspace: int = 2, color_range: int = 0) -> Path:
    """Twelve frames of ten bits, losslessly, tagged with a matrix and a range."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=12, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        context = stream.codec_context
        context.time_base = Fraction(1, 12)
        context.colorspace, context.color_range = colorspace, color_range
        for packet in encoded(stream, 12, lambda number: number):
            out.mux(packet)
    return path


# Numbers of H.273: matrix and range; Kr and Kb, and what Y and chroma span of ten bits.
BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)
LIMITED, FULL = (64, 876, 896), (0, 1023, 1023)
TAGS = {(2, 0): (BT601, LIMITED), (1, 1): (BT709, LIMITED), (5, 2): (BT601, FULL)}


@pytest.mark.parametrize("tags", TAGS)
def test_ten_bits_become_the_colours_that_they_are_tagged_with(
    tags: tuple[int, int], tmp_path: Path
) -> None:
    path = deep_video(tmp_path / "deep.mkv", "yuv444p10le", *tags)
    (kr, kb), (black, span, chroma) = TAGS[tags]
    decoded, kept = decode(path)
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
    for number, index in enumerate(decoded.distinct):
        planes = [np.frombuffer(plane, "<u2") for plane in frames[index].planes]
        y, u, v = (plane.reshape(48, -1)[:, :64].astype(float) for plane in planes)
        y, u, v = (y - black) / span, (u - 512) / chroma, (v - 512) / chroma
        red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
        rgb = np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue], axis=-1)
        assert np.abs(kept[number] - np.clip(rgb, 0, 1) * 255).max() < 2.5


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p10le"])
def test_ten_bits_are_as_ffmpeg_converts_them(pix_fmt: str, tmp_path: Path) -> None:
    """The bare converter puts chroma between samples: by up to 50 of 255 beside sharp edges."""
    path = deep_video(tmp_path / "deep.mkv", pix_fmt)
    decoded, kept = decode(path)
    with av.open(str(path)) as file:
        graph = av.filter.Graph()
        parts = [graph.add_buffer(template=file.streams.video[0])]
        parts += [graph.add("scale", "flags=bicubic"), graph.add("format", "rgb24")]
        parts += [graph.add("buffersink")]
        for one, other in pairwise(parts):
            one.link_to(other)
        graph.configure()
        frames = []
        for frame in file.decode(video=0):
            graph.push(frame)
            frames.append(graph.pull().to_ndarray())
    for number, index in enumerate(decoded.distinct):
        assert np.array_equal(kept[number], frames[index])


@pytest.mark.parametrize("kind", ["png", "gif", "jpeg", "webp", "bmp"])
def test_a_picture_that_is_named_as_a_video_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    Image.fromarray(picture(0, (64, 48))).save(path, format=kind)
    with pytest.raises(DataError, match=f"a still picture \\({kind}\\), no video"):
        decode(path)


def test_an_animation_is_a_video(tmp_path: Path) -> None:
    frames = (picture(number, (64, 48))[..., 2] for number in range(6))
    first, *others = map(Image.fromarray, frames)
    first.save(tmp_path / "clip.mp4", format="gif", save_all=True, append_images=others)
    assert decode(tmp_path / "clip.mp4")[0].num_frames == 6


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
