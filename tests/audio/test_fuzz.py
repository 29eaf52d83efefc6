"""A thousand damaged or odd clips: each yields finite samples or is rejected.

They are read in separate processes, so that a crash of libsndfile or a hang is a single
failed test. To inspect a clip: ``python tests/audio/test_fuzz.py 417 418``.
"""

import io
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

N_CLIPS = 1_000
PER_PROCESS = 250
LONG = 10**7  # samples
TYPES = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
SUBTYPES = {
    "WAV": ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"],
    "FLAC": ["PCM_S8", "PCM_16", "PCM_24"],
    "OGG": ["VORBIS"],
    "MP3": ["MPEG_LAYER_III"],
}
RATES = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000]
ABSURD = [0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]


def noise(rng, n_frames, n_channels):
    samples = rng.standard_normal((n_frames, n_channels), dtype=np.float32)
    return (0.2 * samples).clip(-1, 1)


def fuzzed_array(rng, n_frames, n_channels, rate):
    samples = noise(rng, n_frames, n_channels)
    dtype = np.dtype(rng.choice(TYPES))
    if dtype.kind != "f":
        info = np.iinfo(dtype)
        middle = (int(info.max) + int(info.min) + 1) // 2
        samples = (samples * (0.49 * 2.0 ** (8 * dtype.itemsize))) + middle
    elif rng.random() < 0.3 and samples.size:
        samples.flat[rng.integers(samples.size)] = rng.choice([np.nan, np.inf, 1e30])
    with np.errstate(over="ignore"):  # 1e30 as float16
        samples = samples.astype(dtype)
    if rng.random() < 0.2:
        rate = rng.choice([0, -rate, 1e-9, 1e30, np.nan, 999, 768_001])
    return samples, rate


def fuzzed_file(rng, n_frames, n_channels, rate):
    import soundfile

    form = str(rng.choice(list(SUBTYPES)))
    subtype = str(rng.choice(SUBTYPES[form]))
    if form == "MP3":
        n_channels, rate = min(n_channels, 2), min(rate, 48_000)
    buffer = io.BytesIO()
    samples = noise(rng, n_frames, n_channels)
    with soundfile.SoundFile(
        buffer, "w", rate, n_channels, subtype, format=form
    ) as file:
        for first in range(0, n_frames, 65_536):  # more crashes its Vorbis encoder
            file.write(samples[first : first + 65_536])
    content = bytearray(buffer.getvalue())
    if len(content) < 8:  # an MP3 file without frames is empty
        return bytes(content)
    match rng.integers(6):
        case 0:  # as it is
            pass
        case 1:
            del content[rng.integers(len(content)) :]
        case 2:  # a few flipped bits anywhere
            for at in rng.integers(len(content), size=rng.integers(1, 20)):
                content[at] ^= 1 << rng.integers(8)
        case 3:  # flipped bits in the header
            for at in rng.integers(min(80, len(content)), size=rng.integers(1, 6)):
                content[at] ^= 1 << rng.integers(8)
        case 4:  # an absurd number in the header
            at = int(rng.integers(min(80, len(content) - 4)))
            form = str(rng.choice(["<I", ">I"]))
            struct.pack_into(form, content, at, int(rng.choice(ABSURD)))
        case 5:  # a piece lost, doubled or replaced
            start, stop = sorted(rng.integers(len(content), size=2))
            stop = min(stop, start + 4_096)
            piece = [b"", content[start:stop] * 2, rng.bytes(stop - start)]
            content[start:stop] = piece[rng.integers(3)]
    return bytes(content)


def fuzzed_clip(seed, path):
    """Return one clip: a path whose file was just written, or samples and rate."""
    rng = np.random.default_rng(seed)
    n_channels = int(rng.integers(1, 9))
    n_frames = int(10 ** rng.uniform(0, 4.5)) - 1
    if seed % 500 == 499:
        n_frames = LONG // n_channels
    rate = int(rng.choice(RATES))
    if rng.random() < 0.2:
        return fuzzed_array(rng, n_frames, n_channels, rate)
    path.write_bytes(fuzzed_file(rng, n_frames, n_channels, rate))
    return path


def tell(words):
    sys.stdout.write(words)
    sys.stdout.flush()


def read_clips(first, last, folder):
    """Read clips; return the outcome of each, and raise unexpected errors."""
    import resource

    from clapstack.audio import audio_key, read_audio
    from clapstack.exceptions import AudioError

    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, most))  # no absurd allocation
    for seed in range(first, last):
        clip = fuzzed_clip(seed, Path(folder) / f"{seed}.bin")
        tell(f"{seed} ")  # before the clip is read, lest that crash
        start = time.process_time()
        try:
            audio_key(clip)
            samples = read_audio(clip, (16_000, 44_100, 48_000)[seed % 3])
        except AudioError as error:
            tell(f"refused {error}\n")
        else:
            assert samples.ndim == 1
            assert samples.size
            assert samples.dtype == np.float32
            assert np.isfinite(samples).all()
            tell(f"read {samples.shape}\n")
        assert time.process_time() - start < 20, "a clip takes this long"
        if isinstance(clip, Path):
            clip.unlink()


@pytest.mark.skipif(os.name == "nt", reason="no limit of memory there")
@pytest.mark.parametrize("first", range(0, N_CLIPS, PER_PROCESS))
def test_a_fuzzed_clip_is_read_whole_or_refused(first, tmp_path):
    command = [sys.executable, __file__, str(first), str(first + PER_PROCESS)]
    done = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{lines[-1:]}\n{done.stderr[-2_000:]}"
    ends = [line.split()[1] for line in lines]
    assert len(ends) == PER_PROCESS
    assert min(ends.count("read"), ends.count("refused")) > PER_PROCESS // 10


def test_a_header_that_promises_terabytes_is_refused(tmp_path):
    import soundfile

    from clapstack.audio import read_audio
    from clapstack.exceptions import AudioError

    path = tmp_path / "clip.mp3"
    soundfile.write(path, noise(np.random.default_rng(0), 8_000, 2), 16_000)
    content = bytearray(path.read_bytes())
    at = max(content.find(tag) for tag in (b"Xing", b"Info"))
    struct.pack_into(">I", content, at + 8, 0xFFFFFFFF)  # MPEG frames
    path.write_bytes(bytes(content))
    with pytest.raises(AudioError, match="states 4294967295 frames, but has 16"):
        read_audio(path, 16_000)


def test_a_path_with_a_nul_character_has_no_key():
    from clapstack.audio import audio_key
    from clapstack.exceptions import AudioError

    with pytest.raises(AudioError, match="cannot be read"):
        audio_key("a\0.wav")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        read_clips(int(sys.argv[1]), int(sys.argv[2]), (sys.argv[3:] or [made])[0])
