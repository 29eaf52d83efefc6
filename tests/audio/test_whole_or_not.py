"""Files of every format are read completely or not at all."""

import io
import struct
import sys

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.audio import read_audio
from clapstack.exceptions import AudioError
from tests.audio import files
from tests.audio.files import RATE

MONO = ("wav-gsm", "aifc-gsm", "wav-g721", "wav-nms")
JOINABLE = ("flac-16", "flac-24", "vorbis", "opus", "mp3", "mp3-bare", "aac", "mp2")
CHUNKED = ("wav-16", "rf64", "w64", "aiff-16", "au-16", "caf-16", "m4a-aac", "wma")
PIPED = ("wav-16", "wav-24", "wav-ulaw", "aiff-16", "aifc-ulaw", "au-16")
ALL = [*files.SOUNDFILE, *files.PYAV]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def made(rng):
    def made(name, n_frames=9_000, n_channels=1):
        pytest.importorskip("av")
        return files.make(name, rng, n_frames, n_channels)

    return made


def assert_whole(made):
    n_samples = len(read_audio(made.content, RATE))
    assert made.least - 2 <= n_samples <= made.most + 2


def assert_refused(content, match):
    with pytest.raises(AudioError, match=match):
        read_audio(content, RATE)


@pytest.mark.parametrize("name", ALL)
def test_a_whole_file_is_read_whole(made, name):
    assert_whole(made(name, n_channels=1 if name in MONO else 2))


@pytest.mark.parametrize("name", ALL)
def test_a_cut_file_is_refused(made, name):
    content = made(name).content
    for kept in (0.4, 0.7, 0.97):
        assert_refused(content[: int(kept * len(content))], "truncated|damaged")


@pytest.mark.parametrize("name", ALL)
def test_a_tag_after_the_end_is_ignored(made, name):
    whole = made(name)
    for tag in files.TAGS:
        assert_whole(files.tagged(whole, tag))


@pytest.mark.parametrize("name", JOINABLE)
def test_files_written_one_after_the_other_are_all_read(made, name):
    assert_whole(files.joined(made(name), files.joined(made(name, 8_100), made(name))))


def test_joined_files_sound_like_one_after_the_other(made):
    first, second = made("flac-16"), made("flac-16", 7_000)
    expected = [read_audio(one.content, RATE) for one in (first, second)]
    content = files.joined(first, second).content
    assert_array_equal(read_audio(content, RATE), np.concatenate(expected))


@pytest.mark.parametrize("name", ["flac-16", "vorbis", "opus", "mp3"])
def test_joined_files_of_two_rates_are_refused(rng, name):
    samples = files.noise(rng, 9_000)
    one, other = (files.by_soundfile(name, samples, rate) for rate in (16_000, 24_000))
    assert_refused(one + other, "several clips, of 16000 and 24000 Hz. Split it")


@pytest.mark.parametrize("name", CHUNKED)
def test_a_second_file_after_the_samples_is_refused(made, name):
    content = files.joined(made(name), made(name)).content
    assert_refused(content, r"has more data after the end of its samples, .*Split it")


@pytest.mark.parametrize("other", ["wav-16", "mp3", "m4a-aac", "webm-opus", "vorbis"])
@pytest.mark.parametrize("name", ["flac-16", "mp3", "vorbis", "webm-opus", "wma"])
def test_a_second_file_of_another_format_is_not_passed_over(made, name, other):
    if name != other or name == "webm-opus":
        content = made(name).content + made(other).content
        assert_refused(content, "more data after|truncated|damaged")


def test_an_mp3_that_was_copied_frame_by_frame_is_read(made):
    content = bytearray(made("mp3").content)
    n_whole = len(read_audio(bytes(content), RATE))
    at = content.index(b"LAME") + 21
    delay, padding = content[at] << 4 | content[at + 1] >> 4, content[at + 2]
    padding |= (content[at + 1] & 15) << 8
    content[at : at + 3] = bytes(3)
    assert len(read_audio(content, RATE)) == n_whole + delay + padding - 529


@pytest.mark.parametrize("name", PIPED)
@pytest.mark.parametrize("length", files.UNKNOWN, ids=hex)
def test_a_file_from_a_pipe_is_read_whole(made, name, length):
    assert_whole(files.with_length(made(name), length))


def test_a_second_file_from_a_pipe_is_not_read_as_samples(made):
    one = files.with_length(made("wav-16"), 0xFFFFFFFF)
    assert_refused(one.content * 2, "more data after")


@pytest.mark.parametrize("factor", [0, 0.5, 1.3])
@pytest.mark.parametrize(
    "name", ["wav-16", "aiff-16", "au-16", "vorbis", "opus", "mp3", "flac-16"]
)
def test_a_wrong_count_loses_nothing(made, name, factor):
    counted = files.with_count(made(name), name, factor)
    if (name in ("mp3", "flac-16") and factor < 1) or (
        name in ("wav-16", "aiff-16", "au-16") and factor == 0
    ):
        assert_whole(counted)
    else:
        assert_refused(counted.content, "truncated|damaged|more data after")


@pytest.mark.parametrize("factor", [0, 0.5])
@pytest.mark.parametrize("name", ["mp3", "flac-16"])
def test_frames_that_no_count_covers_are_read(made, name, factor):
    whole = made(name)
    counted = files.with_count(whole, name, factor)
    assert_array_equal(
        read_audio(counted.content, RATE), read_audio(whole.content, RATE)
    )


def test_an_mp3_without_a_count_is_read_whole(made):
    whole = made("mp3")
    content = bytearray(whole.content)
    at = max(content.find(b"Xing"), content.find(b"Info"))
    content[at + 7] &= 0xFE
    assert_array_equal(read_audio(content, RATE), read_audio(whole.content, RATE))


def test_an_mp3_of_variable_bit_rate_without_a_count_is_read_whole(rng):
    pytest.importorskip("av")
    rich, poor = (
        files.by_pyav("mp3-bare", files.noise(rng, 40_000), bit_rate=bit_rate)
        for bit_rate in (128_000, 16_000)
    )
    assert len(rich) > 6 * len(poor)
    assert len(read_audio(rich + poor, RATE)) >= 80_000


def test_mp3_in_wav_and_with_two_tags(made):
    whole = made("mp3")
    expected = read_audio(whole.content, RATE)
    head = struct.pack("<HHIIHHH", 0x55, 1, RATE, 8_000, 1, 0, 12) + bytes(12)
    chunks = b"fmt " + struct.pack("<I", len(head)) + head
    chunks += b"data" + struct.pack("<I", len(whole.content)) + whole.content
    riff = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
    assert_array_equal(read_audio(riff, RATE), expected)
    tag = b"ID3\4\0\0\0\0\0\12" + bytes(10)
    assert_array_equal(read_audio(tag * 2 + whole.content, RATE), expected)


def test_mp3_does_not_depend_on_the_current_folder(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "._").touch()  # libsndfile takes it for the file's resource fork
    assert_whole(made("mp3"))


def test_flac_of_a_stream_that_is_cut_in_its_last_frame(made):
    content = files.with_count(made("flac-16"), "flac-16", 0).content
    assert_refused(content[:-9], "truncated")


def test_chunks_after_the_samples_are_ignored(made):
    notes = (
        b"LIST"
        + struct.pack("<I", 6)
        + b"INFOab"
        + b"what"
        + struct.pack("<I", 3)
        + b"abc\0"
    )
    assert_whole(made("wav-16")._replace(content=made("wav-16").content + notes))


@pytest.mark.parametrize("rest", [bytes(70_000), b"\1\2" * 500], ids=["zeros", "noise"])
def test_samples_behind_the_length_of_the_header_are_refused(made, rest):
    assert_refused(made("wav-16").content + rest, "has more data after the end")


def test_a_frame_that_is_cut_in_a_stream_is_found(made):
    content = files.with_length(made("wav-24"), 0xFFFFFFFF).content
    assert_refused(content[:-1], "truncated: its last frame has 2 of 3 bytes")


def test_pages_of_ogg_that_are_missing_are_found(made):
    content = made("vorbis", 60_000).content
    pages = [at for at in range(len(content)) if content[at : at + 4] == b"OggS"]
    assert_refused(content[: pages[2]] + content[pages[3] :], "pages are missing")


def test_a_file_with_twelve_channels_is_refused(rng):
    buffer = io.BytesIO()
    soundfile.write(buffer, files.noise(rng, 900, 12), RATE, format="WAV")
    assert_refused(
        buffer.getvalue(), "12 channels, more than the maximum of 8. Mix it down"
    )


def test_a_clip_of_too_many_samples_is_refused_before_it_is_decoded(made):
    content = bytearray(made("flac-16").content)
    silence = content[:42]  # and frames of 65,535 constant samples, 10 bytes each
    content = bytes(silence) + b"".join(_silent_frame(i) for i in range(8_200))
    content = content[:4] + b"\x80" + content[5:]
    assert_refused(content, r"too long: .* the limit is 536870912 samples \(9\.3 hours")


def _silent_frame(number):
    head = b"\xff\xf8\x75\x08"  # 16 kHz, mono, 16 bits, 16 bits of size follow
    coded = chr(number).encode("utf-8", "surrogatepass")
    head += coded + struct.pack(">H", 65_534)
    crc = 0
    for byte in head:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 ^ (0x107 if crc & 0x80 else 0)
    return head + bytes([crc]) + b"\0\0\0" + b"\0\0"


# PyAV


def test_what_pyav_decodes_sounds_right(rng):
    pytest.importorskip("av")
    time = np.arange(16_000) / RATE
    tone = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)[:, None]
    for name in ("m4a-alac", "mkv-flac", "ogg-flac"):
        assert_allclose(
            read_audio(files.by_pyav(name, tone), RATE), tone[:, 0], atol=1e-4
        )
    for name in ("m4a-aac", "mkv-aac", "webm-opus", "wma"):
        heard = read_audio(files.by_pyav(name, tone), RATE)[4_000:12_000]
        spectrum = np.abs(np.fft.rfft(heard))
        assert np.argmax(spectrum) == 220  # of bands of 2 Hz
        assert_allclose(spectrum[220], 0.5 * 4_000, rtol=0.05)


def test_a_table_of_packets_that_would_fill_the_memory_is_refused(made):
    content = bytearray(made("m4a-alac").content)
    struct.pack_into(">II", content, content.index(b"stsz") + 8, 1, 0xFFFFFFF)
    assert_refused(content, "states 268435455 packets")


def test_streams_of_audio_in_one_file_are_counted():
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        options = {"rate": RATE, "layout": "mono"}
        streams = [output.add_stream("aac", **options) for _ in range(2)]
        for stream in streams:
            silence = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, 0
            for ready in (frame, None):
                output.mux(stream.encode(ready))
    assert_refused(buffer.getvalue(), "has 2 audio streams instead of one")


def test_a_codec_that_is_not_known_is_refused(made):
    content = made("mkv-aac").content
    assert_refused(
        content.replace(b"A_AAC", b"A_XYZ"), "codec that FFmpeg cannot decode"
    )


def test_without_pyav_the_format_and_the_remedy_are_named(made, monkeypatch):
    content = made("m4a-aac").content
    monkeypatch.setitem(sys.modules, "av", None)
    remedy = (
        r'reading MP4 files needs av. Install it with: pip install "clapstack\[av\]"'
    )
    assert_refused(content, remedy)


def test_a_damaged_packet_is_not_skipped(made):
    content = bytearray(made("ogg-flac").content)
    content[9_000] ^= 0x10
    assert_refused(content, "FLAC in Ogg file cannot be decoded|damaged")


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n",
        b"ffconcat version 1.0\nfile secret.wav\n",
        b"file 'secret.wav'\n",
        b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:9/</BaseURL></MPD>",
        b"RTSPtextRTSP://127.0.0.1:9/a",
        b"[playlist]\nFile1=secret.wav\n",
    ],
)
def test_a_playlist_opens_nothing(content, monkeypatch):
    av = pytest.importorskip("av")
    monkeypatch.setattr(av, "open", pytest.fail)
    monkeypatch.setattr(soundfile.SoundFile, "_open", pytest.fail)
    assert_refused(content, "playlist files are not supported|cannot be decoded")


def test_pyav_opens_no_other_file(made, tmp_path):
    # An MP4 file may say that its samples are in another one. Here that one has others
    # at the same place.
    content, secret = made("m4a-alac").content, tmp_path / "secret.m4a"
    secret.write_bytes(made("m4a-alac").content)
    inside = b"\0\0\0\x0curl \0\0\0\1"  # flags: in this file
    outside = b"url \0\0\0\0" + str(secret).encode() + b"\0"
    outside = struct.pack(">I", 4 + len(outside)) + outside
    at = content.index(inside)
    changed = bytearray(content.replace(inside, outside))
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = content.rindex(box, 0, at) - 4
        (size,) = struct.unpack_from(">I", content, start)
        struct.pack_into(">I", changed, start, size + len(outside) - len(inside))
    assert_array_equal(read_audio(changed, RATE), read_audio(content, RATE))
