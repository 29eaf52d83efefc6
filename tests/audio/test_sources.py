"""Clips in all accepted forms: bytes, open files, tensors, rows of datasets."""

import io
import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.audio import audio_key, describe_audio, file_state, read_audio
from clapstack.exceptions import AudioError

RATE = 16_000


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    return rng.uniform(-0.5, 0.5, (3_000, 2)).astype(np.float32)


@pytest.fixture
def clip(tmp_path, samples):
    path = tmp_path / "clip.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


def assert_same_file(source, clip):
    assert_array_equal(read_audio(source, 48_000), read_audio(clip, 48_000))
    assert audio_key(source) == audio_key(clip)


def refused(source, match):
    for read in (lambda: read_audio(source, RATE), lambda: audio_key(source)):
        with pytest.raises(AudioError, match=match):
            read()


# Files in memory and open files


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO])
def test_the_content_of_a_file_is_the_file(clip, kind):
    assert_same_file(kind(clip.read_bytes()), clip)


def test_an_open_file_is_read_from_its_beginning_and_not_moved(clip):
    with clip.open("rb") as file:
        file.seek(7)
        assert_same_file(file, clip)
        assert file.tell() == 7


def test_a_temporary_file_is_an_open_file(clip):
    with tempfile.SpooledTemporaryFile() as file:
        file.write(clip.read_bytes())
        assert_same_file(file, clip)


def test_threads_may_read_one_file_object(clip):
    with clip.open("rb") as file:
        keys = []
        threads = [
            threading.Thread(target=lambda: keys.append(audio_key(file)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(keys) == {audio_key(clip)}


def test_a_file_open_as_text_is_refused(clip):
    with clip.open(encoding="latin-1") as file:
        refused(file, r"returns str instead of bytes. Open .* open\(path, 'rb'\)")


def test_a_closed_file_is_refused(clip):
    with clip.open("rb") as file:
        pass
    refused(file, "cannot be read from its beginning .* Pass the bytes")


def test_a_memoryview_of_samples_is_refused(samples):
    refused(memoryview(samples), "does not contain the bytes of an audio file")


@pytest.mark.skipif(os.name == "nt", reason="no named pipes in folders there")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    refused(
        tmp_path / "pipe.wav",
        "pipe, a socket or a device, not a regular.* Pass its content",
    )


# Paths


def test_a_path_may_begin_with_the_home_folder(clip, monkeypatch):
    monkeypatch.setenv("HOME", str(clip.parent))
    monkeypatch.setenv("USERPROFILE", str(clip.parent))
    assert_same_file("~/clip.wav", clip)
    assert file_state("~/clip.wav") == file_state(clip)


@pytest.mark.parametrize("kind", [str, Path, np.str_, os.fsencode])
def test_a_path_of_any_type(clip, kind):
    if kind is os.fsencode:
        (entry,) = os.scandir(os.fsencode(clip.parent))
        assert_same_file(entry, clip)
    else:
        assert_same_file(kind(clip), clip)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.wav",
        "HTTP://example.org/a.wav",
        "s3://bucket/a.wav",
        "hf://datasets/a/b.wav",
        "file:///tmp/a.wav",
        "file:/tmp/a.wav",
        "zip://a.wav::b.zip",
        "data:audio/wav;base64,UklGRg==",
    ],
)
def test_a_url_is_not_fetched(url):
    refused(url, "this is a URL, which clapstack does not download. Download the file")


def test_a_path_with_a_colon_is_a_path(tmp_path, clip, monkeypatch):
    if os.name == "nt":
        pytest.skip("no colons in names there")
    monkeypatch.chdir(tmp_path)
    clip.rename(tmp_path / "at 10:30.wav")
    assert read_audio("at 10:30.wav", RATE).size


# Arrays and tensors


def test_tensors_of_torch(samples):
    torch = pytest.importorskip("torch")
    expected = read_audio((samples, RATE), 48_000)
    tensor = torch.from_numpy(samples)
    for given in (tensor, tensor.clone().requires_grad_(), tensor * 1.0):
        assert_array_equal(read_audio((given, RATE), 48_000), expected)
    for dtype, error in ((torch.bfloat16, 4e-3), (torch.float16, 1e-3)):
        heard = read_audio((tensor.to(dtype), RATE), RATE)
        assert_allclose(heard, samples.mean(axis=1), atol=error)
    whole = (tensor * 32_767).to(torch.int16)
    assert_array_equal(
        read_audio((whole, RATE), RATE), read_audio((whole.numpy(), RATE), RATE)
    )


def test_channels_first_where_the_mapping_says_so(samples):
    source = {"array": samples.T, "sampling_rate": RATE, "channels_first": True}
    assert_array_equal(read_audio(source, RATE), read_audio((samples, RATE), RATE))
    assert audio_key(source) == audio_key((samples, RATE))


def test_masked_samples_are_refused(samples):
    masked = np.ma.masked_greater(samples, 0.4)
    refused((masked, RATE), r"some samples are masked. Fill them in")


# Integers of a narrower type


@pytest.mark.parametrize("n_bits", [16, 20, 24])
def test_narrow_samples_in_the_low_bits_of_int32(samples, n_bits):
    low = (samples * 2 ** (n_bits - 1)).astype(np.int32)
    with pytest.raises(AudioError, match=r"samples of a narrower type, .* too quiet"):
        read_audio((low, RATE), RATE)


def test_the_remedy_for_24_bits_in_int32_gives_the_right_samples(samples):
    low = (samples * 2**23).astype(np.int32)
    with pytest.raises(AudioError, match=r"samples / 2\.0\*\*23 if these are 24-bit"):
        read_audio((low, RATE), RATE)
    heard = read_audio((low / 2.0**23, RATE), RATE)
    assert_allclose(heard, samples.mean(axis=1), atol=1e-6)


def test_16_bits_that_a_24_bit_file_holds_in_int32(samples):
    low = (samples * 2**15).astype(np.int32) << 8
    with pytest.raises(AudioError, match="samples of a narrower type"):
        read_audio((low, RATE), RATE)


def test_unsigned_samples_in_the_low_bits_of_uint32(samples):
    low = ((samples + 1) * 2**23).astype(np.uint32)
    with pytest.raises(AudioError, match="samples of a narrower type"):
        read_audio((low, RATE), RATE)


@pytest.mark.parametrize("level", [1.0, 0.1, 0.02])
def test_int32_of_full_scale_is_read(samples, level):
    whole = (samples * level * 2**31).astype(np.int32)
    assert_allclose(
        read_audio((whole, RATE), RATE), level * samples.mean(axis=1), atol=1e-6
    )


def test_a_quiet_16_bit_file_read_as_int32_is_read(samples):
    quiet = (samples * 100).astype(np.int16)  # 50 dB below full scale
    wide = quiet.astype(np.int32) << 16
    assert_array_equal(read_audio((wide, RATE), RATE), read_audio((quiet, RATE), RATE))


# Rows of Hugging Face datasets


@pytest.fixture
def dataset(clip):
    datasets = pytest.importorskip("datasets", minversion="4.0")
    return datasets.Dataset.from_dict({"audio": [str(clip)]})


@pytest.fixture
def decoded(dataset):
    import datasets

    try:
        import torchcodec  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        # It needs the shared libraries of FFmpeg, of which it tries several versions.
        pytest.skip(f"torchcodec cannot be loaded: {str(error)[:60]}")

    def decoded(**options):
        return dataset.cast_column("audio", datasets.Audio(**options))[0]["audio"]

    return decoded


def test_an_undecoded_row_is_the_file(dataset, clip):
    import datasets

    by_path = dataset.cast_column("audio", datasets.Audio(decode=False))
    assert_same_file(by_path[0]["audio"], clip)
    held = datasets.Dataset.from_dict({"audio": [clip.read_bytes()]})
    by_bytes = held.cast_column("audio", datasets.Audio(decode=False))
    assert by_bytes[0]["audio"]["path"] is None
    assert_same_file(by_bytes[0]["audio"], clip)
    assert_same_file(by_path.to_pandas()["audio"][0], clip)


@pytest.mark.parametrize("options", [{}, {"num_channels": 1}, {"sampling_rate": 8_000}])
def test_a_decoder_is_the_file(decoded, clip, options):
    assert_same_file(decoded(**options), clip)


def test_a_decoder_of_a_cut_file_is_refused(decoded, clip):
    clip.write_bytes(clip.read_bytes()[:-100])
    refused_row = decoded()
    with pytest.raises(AudioError, match="truncated"):
        read_audio(refused_row, RATE)


def test_the_samples_of_a_decoder(decoded, clip):
    row = decoded()
    expected = read_audio(clip, 48_000)
    array = {"array": row["array"], "sampling_rate": row["sampling_rate"]}
    for source in (row.get_all_samples(), array):
        assert_allclose(read_audio(source, 48_000), expected, atol=1e-6)
    assert "AudioSamples of torch.float32 array of shape (2, 3000) at 16000" in (
        describe_audio(row.get_all_samples())
    )


def test_a_decoder_of_torchcodec_alone(decoded, clip):
    decoded()
    from torchcodec.decoders import AudioDecoder

    heard = read_audio(AudioDecoder(str(clip)), 48_000)
    assert_allclose(heard, read_audio(clip, 48_000), atol=1e-6)
    resampling = AudioDecoder(str(clip), sample_rate=8_000)
    with pytest.raises(AudioError, match=r"resamples from 16000 to 8000 Hz. Create it"):
        read_audio(resampling, 48_000)


def test_a_text_that_is_no_path_is_shown_in_part():
    assert describe_audio("UklGR" * 1000) == "UklGR" * 60 + "…"
