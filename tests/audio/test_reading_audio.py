import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.audio import (
    describe_audio,
    read_audio,
    short_window_starts,
    window_starts,
)
from clapstack.exceptions import AudioError

RATE = 16_000
CONTAINERS = {
    "wav": "PCM_16",
    "flac": "PCM_16",
    "ogg": "VORBIS",
    "mp3": "MPEG_LAYER_III",
    "aiff": "PCM_16",
}


def noise(n_frames=8_000, seed=0):
    rng = np.random.default_rng(seed)
    return (0.2 * rng.standard_normal(n_frames)).clip(-1, 1).astype(np.float32)


def tone(n_frames, rate, hertz=440.0):
    return np.sin(2 * np.pi * hertz * np.arange(n_frames) / rate).astype(np.float32)


@pytest.fixture
def write(tmp_path):
    def write(name, samples, rate=RATE, **options):
        path = tmp_path / name
        subtype = CONTAINERS[path.suffix[1:]]
        soundfile.write(path, samples, rate, **{"subtype": subtype, **options})
        return path

    return write


# What is read


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_every_container_is_read_whole(write, suffix):
    path = write(f"clip.{suffix}", noise())
    samples = read_audio(path, RATE)
    assert samples.shape == (8_000,)
    assert samples.dtype == np.float32
    assert samples.flags.c_contiguous


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff"])
def test_lossless_containers_give_the_same_samples(write, suffix):
    expected = np.rint(noise() * 32767).astype(np.int16)
    path = write(f"clip.{suffix}", expected)
    assert_array_equal(read_audio(path, RATE), read_audio((expected, RATE), RATE))


def test_path_string_tuple_and_mapping_agree(write):
    samples = noise()
    path = write("clip.wav", samples, subtype="FLOAT")
    expected = read_audio(path, 48_000)
    assert_array_equal(read_audio(str(path), 48_000), expected)
    assert_array_equal(read_audio((samples, RATE), 48_000), expected)
    assert_array_equal(read_audio((samples.tolist(), RATE), 48_000), expected)
    mapping = {"path": "elsewhere.wav", "array": samples, "sampling_rate": RATE}
    assert_array_equal(read_audio(mapping, 48_000), expected)


def test_channels_are_averaged(write):
    left, right = noise(seed=1), noise(seed=2)
    path = write("stereo.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    assert_allclose(read_audio(path, RATE), (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_integers_are_divided_by_their_full_scale(dtype):
    info = np.iinfo(dtype)
    samples = np.array([info.min, 0, -(info.min // 2)], dtype=dtype)
    assert_array_equal(read_audio((samples, RATE), RATE), [-1.0, 0.0, 0.5])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "uint32", "uint64"])
def test_unsigned_integers_are_centred(dtype):
    dtype = np.dtype(dtype)
    half = 1 << (8 * dtype.itemsize - 1)
    samples = np.array([0, half, half + half // 2], dtype=dtype)
    assert_array_equal(read_audio((samples, RATE), RATE), [-1.0, 0.0, 0.5])


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_float_types_are_read_as_they_are(dtype):
    samples = np.array([0.5, -0.25, 0.0], dtype=dtype)
    assert_array_equal(read_audio((samples, RATE), RATE), [0.5, -0.25, 0.0])


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 96_000])
def test_a_clip_keeps_its_duration_and_pitch_at_another_rate(rate):
    heard = read_audio((tone(rate, rate), rate), 48_000)
    assert len(heard) == 48_000
    middle = slice(4_800, -4_800)  # away from the edges of the filter
    assert_allclose(heard[middle], tone(48_000, 48_000)[middle], atol=2e-3)


def test_a_clip_at_the_wanted_rate_is_not_touched():
    assert_array_equal(read_audio((noise(), RATE), RATE), noise())


# What is refused


def refused(source, match, rate=RATE):
    with pytest.raises(AudioError, match=match):
        read_audio(source, rate)


def test_missing_file_in_a_folder_that_exists(tmp_path):
    refused(tmp_path / "no.wav", r"no\.wav: no such file; its folder .* exists\.")


def test_missing_file_in_a_missing_folder(tmp_path):
    refused(tmp_path / "no" / "a.wav", "does not exist either")


def test_folder_instead_of_a_file(tmp_path):
    refused(tmp_path, "this is a folder")


def test_empty_file(tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    refused(path, r"empty \(0 bytes\)")


def test_file_that_is_not_audio(tmp_path):
    path = tmp_path / "notes.wav"
    path.write_text("this is a shopping list, not a recording")
    refused(path, r"cannot be decoded as audio \(40 bytes, beginning with b'this is")


def test_file_without_frames(write):
    refused(write("none.wav", np.zeros(0, np.float32)), "has no samples")


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("kept", [0.99, 0.9, 0.5, 0.1])
def test_truncated_file(write, suffix, kept):
    path = write(f"clip.{suffix}", noise(48_000))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    refused(path, "truncated")


def test_truncated_float_wav_after_a_chunk_of_notes(write):
    content = write("clip.wav", noise(), subtype="FLOAT").read_bytes()
    at = content.index(b"data")
    notes = b"LIST" + struct.pack("<I", 5_000) + bytes(5_000)
    path = write("noted.wav", noise())
    path.write_bytes(content[:at] + notes + content[at:-4])
    refused(path, "truncated: it states 32000 bytes of samples, but has 31996")


def test_mp3_with_a_picture_before_the_sound(write):
    path = write("clip.mp3", noise())
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 100, 0]) + bytes(100 * 128)
    path.write_bytes(tag + path.read_bytes())
    assert len(read_audio(path, RATE)) == 8_000


def test_format_that_is_not_read_is_named(tmp_path):
    path = tmp_path / "clip.voc"
    soundfile.write(path, noise(), RATE)
    refused(path, "VOC files are not supported. Convert this one to WAV or FLAC")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html>", "HTML, perhaps from a failed download"),
        (b"\x1f\x8b\x08\0", "gzip-compressed data. Decompress it"),
        (b"\x0bwr\xd1T@C\xe1", "AC-3 files are not supported"),
    ],
)
def test_a_file_that_is_not_audio_is_identified(tmp_path, content, message):
    path = tmp_path / "clip.wav"
    path.write_bytes(content)
    refused(path, message)


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_silent_clip(value):
    refused((np.full(100, value), RATE), f"silent: all of its 100 .* equal {value:g}")


def test_channels_that_cancel_out():
    samples = np.stack([noise(), -noise()], axis=1)
    refused((samples, RATE), "silent")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_counted_and_placed(value):
    samples = np.stack([noise(), noise()], axis=1)
    samples[[40, 50], 1] = value
    refused((samples, RATE), "2 of 16000 samples are NaN or infinite, .* frame 40")


def test_nan_in_a_file(write):
    samples = noise()
    samples[7] = np.nan
    path = write("nan.wav", samples, subtype="FLOAT")
    refused(path, r"nan\.wav: 1 of 8000 samples .* frame 7")


@pytest.mark.parametrize("rate", [0, -16_000, 999, 768_001, np.nan, None, "16k", True])
def test_absurd_sample_rate(rate):
    refused((noise(), rate), "sample rate must be a number of Hz from 1000 to 768000")


def test_absurd_sample_rate_of_a_file(write):
    refused(write("slow.wav", noise(), 100), "sample rate .* got 100")


def test_channels_first_are_not_guessed():
    refused((np.zeros((2, 500)), RATE), r"shape \(2, 500\) is read as .* samples\.T")


def test_too_many_dimensions():
    refused((np.zeros((1, 2, 3)), RATE), r"must have shape .* got \(1, 2, 3\)")


def test_empty_array():
    refused((np.zeros(0), RATE), "no samples")


@pytest.mark.parametrize("samples", [np.array(["a"]), np.array([True]), 1j * noise()])
def test_samples_of_another_type(samples):
    refused((samples, RATE), "samples must be floats or integers")


def test_ragged_samples():
    refused(([[0.1], [0.1, 0.2]], RATE), "do not form an array")


def test_list_of_integers_is_refused():
    refused(([1, -2, 300], RATE), "full scale of a list of integers is unknown")


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_sixteen_bit_samples_in_a_wider_type(dtype):
    samples = (noise() * 10_000).astype(dtype)
    refused((samples, RATE), "samples of a narrower type")


def test_floats_far_over_full_scale():
    refused((noise() * 32_768, RATE), r"float samples must be on \[-1, 1\]")


def test_a_peak_slightly_over_full_scale_is_accepted():
    assert read_audio((5 * noise(), RATE), RATE).max() > 1


def test_rate_before_samples():
    refused((RATE, noise()), r"the order of scipy.io.wavfile. Pass \(samples, rate\)")


def test_samples_without_rate():
    refused(noise(), r"The sample rate is missing")


def test_mapping_of_other_keys():
    source = {"waveform": noise(), "sample_rate": RATE}
    refused(source, r"missing \['array', 'sampling_rate'\], got \['sample_rate'")


def test_mapping_without_a_value():
    refused({"bytes": None, "path": None}, "neither 'bytes' nor 'path' has a value")


@pytest.mark.parametrize("source", [None, np.nan, 3])
def test_source_of_another_kind(source):
    refused(source, f"must be a path, .* got {type(source).__name__}")


def test_empty_path():
    refused("", "the path is empty")


def test_path_with_a_nul_character():
    refused("a\0.wav", "cannot be read")


def test_clip_too_short_for_the_rate():
    refused((np.array([0.1, 0.2]), 768_000), "too short to be resampled", rate=1_000)


def test_wanted_rate_must_be_positive():
    with pytest.raises(ValueError, match="sample_rate must be positive; got 0"):
        read_audio((noise(), RATE), 0)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "clip.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError):
        read_audio(path, RATE)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_wav_is_read_whole_or_refused(tmp_path_factory, data):
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(500), RATE, format="WAV", subtype="PCM_16")
    content = bytearray(buffer.getvalue())
    at = data.draw(st.integers(0, 43))
    content[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "clip.wav"
    path.write_bytes(bytes(content))
    try:
        samples = read_audio(path, RATE)
    except AudioError:
        return
    assert np.isfinite(samples).all()


# Windows


@given(st.integers(1, 10**5), st.integers(100, 10**5))
def test_windows_cover_the_clip_evenly(n_samples, window):
    starts = window_starts(n_samples, window, "windows")
    assert len(starts) == max(1, -(-n_samples // window))
    assert starts[0] == 0
    if n_samples > window:
        assert starts[-1] + window == n_samples
        gaps = np.diff(starts)
        assert gaps.max() <= window
        assert gaps.max() - gaps.min() <= 1


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_center_window_is_in_the_middle(n_samples, window):
    (start,) = window_starts(n_samples, window, "center")
    after = n_samples - start - window
    assert start == 0 if n_samples <= window else after - start in (0, 1)


@pytest.mark.parametrize("crop", ["windows", "center", "start"])
@pytest.mark.parametrize("n_samples", [1, 9, 10])
def test_a_clip_no_longer_than_the_window_has_one(crop, n_samples):
    assert window_starts(n_samples, 10, crop) == [0]


def test_start_window():
    assert window_starts(1000, 10, "start") == [0]


def test_unknown_crop():
    with pytest.raises(ValueError, match=r"crop must be .* got 'random'"):
        window_starts(10, 5, "random")


@pytest.mark.parametrize(("n_samples", "window"), [(0, 5), (5, 0)])
def test_lengths_below_one(n_samples, window):
    with pytest.raises(ValueError, match="must be at least 1"):
        window_starts(n_samples, window, "start")


# Names in messages


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a.wav", "a.wav"),
        ((np.zeros((5, 2)), 8000), "float64 array of shape (5, 2) at 8000 Hz"),
        (([0.0, 1.0], 8000), "list of 2 samples at 8000 Hz"),
        (
            {"array": np.zeros(3, "f4"), "sampling_rate": 1},
            "float32 array of shape (3,) at 1 Hz",
        ),
        (None, "NoneType None"),
    ],
)
def test_description(source, expected):
    assert describe_audio(source) == expected


@pytest.mark.parametrize(
    ("duration", "length", "hop", "n_windows"),
    [
        (10.0, 2.0, 1.0, 9),
        (10.005, 2.0, 1.0, 9),  # as long as a resampler makes it
        (10.3, 2.0, 1.0, 10),
        (2.0, 2.0, 1.0, 1),
        (0.3, 2.0, 1.0, 1),
        (7.0, 2.0, 2.0, 4),
        (3600.0, 2.0, 1.0, 3599),
    ],
)
def test_short_windows_cover_a_clip_evenly(duration, length, hop, n_windows):
    starts = short_window_starts(duration, length, hop)
    assert len(starts) == n_windows
    assert starts[0] == 0
    if n_windows > 1:
        assert starts[-1] + length == pytest.approx(duration)
        gaps = np.diff(starts)
        assert np.ptp(gaps) < 1e-9
        assert gaps[0] <= hop * 1.01


@pytest.mark.parametrize("values", [(10, 2, 3), (10, 2, 0), (0, 2, 1), (10, -1, -1)])
def test_short_windows_that_miss_a_part_are_refused(values):
    with pytest.raises(ValueError, match="hop at most length"):
        short_window_starts(*values)
