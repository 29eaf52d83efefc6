"""Ogg: walking its pages, and counting the samples of its packets.

libsndfile reads the first of several streams that follow one another, and of each no
more samples than its last page states.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from clapstack.audio._mpeg import begins_file
from clapstack.audio._streams import (
    Stream,
    damaged,
    more_behind,
    skip_tags,
    truncated,
)
from clapstack.exceptions import AudioError

_OGG = "Ogg"
_VORBIS = "Vorbis"
_CONTINUED, _FIRST, _LAST = 1, 2, 4  # flags of a page
_MOST_PAGES = 1 << 21  # as many as packets of 20 ms in 11 hours
# Milliseconds times 8 of a frame of Opus, by its configuration
_OPUS = (80, 160, 320, 480) * 3 + (80, 160) * 2 + (20, 40, 80, 160) * 4


class _Page(NamedTuple):
    flags: int
    position: int  # samples at the end of its last packet; -1 if none ends on it
    stream: int
    number: int
    segments: bytes
    body: int
    end: int


class _Link(NamedTuple):
    """Pages of one stream, and where they lie in the file."""

    start: int
    end: int
    pages: list[_Page]


def ogg_streams(content: bytes) -> list[Stream] | None:
    """Return the streams of an Ogg file, one for each that follows another.

    None for the content of other kinds of files. AudioError if a page is cut or
    missing, a stream has no end, or several run at once.
    """
    at = skip_tags(content, 0)
    if content[at : at + 4] != b"OggS":
        return None
    return [_stream(content, link) for link in _links(content, at)]


def _pages(content: bytes, at: int) -> Iterator[_Page]:
    while at < len(content):
        head = content[at : at + 27]
        if head[:4] != b"OggS"[: len(head)]:
            if content.find(b"OggS", at) >= 0:
                raise damaged(_OGG, f"byte {at} begins no page, and others follow")
            if begins_file(content, at):
                raise more_behind(_OGG)
            return  # tags, padding, or what else is no audio
        body = at + 27 + head[26] if len(head) == 27 else len(content) + 1
        segments = content[at + 27 : body]
        end = body + sum(segments)
        if end > len(content):
            raise truncated(_OGG, "its last page is cut")
        yield _Page(
            head[5],
            int.from_bytes(head[6:14], "little", signed=True),
            int.from_bytes(head[14:18], "little"),
            int.from_bytes(head[18:22], "little"),
            segments,
            body,
            end,
        )
        at = end


def _links(content: bytes, at: int) -> list[_Link]:
    """Split pages where all streams have ended and others begin."""
    links: list[_Link] = []
    running: dict[int, int] = {}  # the number of the next page of each stream
    ended: set[int] = set()
    audio: set[int] = set()
    start = end = at
    pages: list[_Page] = []
    for n_pages, page in enumerate(_pages(content, at)):
        if n_pages == _MOST_PAGES:
            raise damaged(_OGG, f"it has more than {_MOST_PAGES} pages")
        if page.flags & _FIRST:
            if running and pages and set(running) == ended:
                links.append(_Link(start, end, pages))
                running, ended, pages, audio = {}, set(), [], set()
                start = page.body - 27 - len(page.segments)
            if page.stream in running:
                raise truncated(_OGG, "a stream begins before the last has ended")
            running[page.stream] = page.number
            if content[page.body : page.body + 8] != b"fishead\0":
                audio.add(page.stream)
            if len(audio) > 1:
                msg = (
                    "the Ogg file holds several streams that run at once, such as a "
                    "film. Extract its sound as WAV or FLAC."
                )
                raise AudioError(msg)
        if running.get(page.stream) != page.number or page.stream in ended:
            raise damaged(_OGG, "pages are missing or out of order")
        running[page.stream] = page.number + 1 & 0xFFFFFFFF
        if page.flags & _LAST:
            ended.add(page.stream)
        if page.stream in audio:
            pages.append(page)
        end = page.end
    if set(running) != ended:
        raise truncated(_OGG, "its last page does not end the stream")
    links.append(_Link(start, end, pages))
    return links


def _stream(content: bytes, link: _Link) -> Stream:
    whole = content[link.start : link.end]
    packets = _packets(content, link.pages)
    head, _ = next(packets, (b"", 0))
    if head[:7] == b"\1vorbis" and len(head) >= 30:
        rate = int.from_bytes(head[12:16], "little")
        durations = _vorbis_durations(head, packets)
        return Stream("Vorbis", whole, _n_samples("Vorbis", link, durations), rate)
    if head[:8] == b"OpusHead" and len(head) >= 19:
        next(packets, None)  # its tags
        durations = ((_opus_duration(packet), page) for packet, page in packets)
        n_samples = _n_samples("Opus", link, durations)
        n_samples -= (skipped := int.from_bytes(head[10:12], "little"))
        positions = [page.position for page in link.pages if page.position > 0]
        # libsndfile refuses a single page that states more than its packets.
        refused = len(positions) == 1 and n_samples + skipped < positions[0]
        demuxer = "ogg" if refused else None
        return Stream("Opus", whole, n_samples, 48_000, demuxer=demuxer)
    if head[:5] == b"\x7fFLAC":
        rate = int.from_bytes(head[27:30], "big") >> 4
        n_samples = link.pages[-1].position
        return Stream("FLAC in Ogg", whole, n_samples, rate, demuxer="ogg")
    if head[:8] == b"Speex   ":
        return Stream("Speex", whole, demuxer="ogg")
    msg = (
        "the Ogg file holds no Vorbis, Opus, FLAC or Speex. Convert it to WAV or FLAC."
    )
    raise AudioError(msg)


def _n_samples(name: str, link: _Link, durations: Iterator[tuple[int, int]]) -> int:
    """Return how many samples the pages state, compared with what the packets hold.

    Each duration comes with the number of the page on which its packet ends.
    """
    held = [0] * len(link.pages)
    last = 0
    for duration, page in durations:
        held[page] += duration
        last = duration or last
    total = sum(held)
    begin = 0
    at = next((i for i, n in enumerate(held) if n), len(held) - 1)
    if at < len(held) - 1:
        begin = link.pages[at].position - held[at]
    # A stream that was cut out of a longer one begins later than 0. One that begins
    # before 0 has samples to drop.
    total += min(begin, 0)
    stated = max(page.position for page in link.pages) - max(begin, 0)
    # The last packet is filled up, and the last page states where the clip ends in it.
    # FFmpeg's last packet of Opus may lack a little of what it states.
    if stated - total >= max(last, 1):
        raise truncated(name, f"it promises {stated} frames, {total} are there")
    if total - stated >= max(last, 1):
        what = f"it states {stated} frames, and its packets hold {total}"
        raise damaged(name, what)
    return min(stated, total)


def _packets(content: bytes, pages: list[_Page]) -> Iterator[tuple[bytes, int]]:
    """Yield the packets, and the page on which each ends."""
    packet = bytearray()
    for number, page in enumerate(pages):
        if bool(page.flags & _CONTINUED) != bool(packet):
            raise damaged(_OGG, "a packet continues on no page, or is cut")
        at = page.body
        for size in page.segments:
            packet += content[at : at + size]
            at += size
            if size < 255:
                yield bytes(packet), number
                packet.clear()
    if packet:
        raise truncated(_OGG, "its last packet is cut")


def _opus_duration(packet: bytes) -> int:
    """Return the samples of a packet of Opus, at 48 kHz."""
    if not packet:
        return 0
    code = packet[0] & 3
    n_frames = (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[code]
    return n_frames * _OPUS[packet[0] >> 3] * 6


def _vorbis_durations(
    head: bytes, packets: Iterator[tuple[bytes, int]]
) -> Iterator[tuple[int, int]]:
    """Yield the samples that each packet of Vorbis completes, and its page.

    A packet is a block of one of two sizes, which its mode selects; half of it overlaps
    the block before, so that a block completes a quarter of both.
    """
    next(packets, None)  # its comments
    setup, _ = next(packets, (b"", 0))
    sizes = 1 << (head[28] & 15), 1 << (head[28] >> 4)
    long_modes = _vorbis_modes(setup)
    mask = (1 << (len(long_modes) - 1).bit_length()) - 1
    before = 0
    for packet, page in packets:
        if not packet or packet[0] & 1:  # not of audio
            continue
        mode = packet[0] >> 1 & mask
        size = sizes[long_modes[mode] if mode < len(long_modes) else 0]
        yield (before + size) // 4 if before else 0, page
        before = size


def _vorbis_modes(setup: bytes) -> list[int]:
    """Return for each mode whether its blocks are long, from the end of the setup.

    What comes before the modes (codebooks) can be skipped only by reading all of it,
    while each mode is 41 bits of which 32 are zero, and a count of them is before the
    first. So the modes are read from the back, as far as they look like modes and a
    count fits.
    """
    bits = int.from_bytes(setup, "little")
    end = bits.bit_length() - 1  # the framing bit is the last that is set
    modes: list[int] = []
    found: list[int] = []
    while end >= 41 + 6 and not bits >> (end - 40) & 0xFFFFFFFF and len(modes) < 64:
        end -= 41
        modes.insert(0, bits >> end & 1)
        if (bits >> (end - 6) & 0x3F) + 1 == len(modes):
            found = list(modes)
    if not found:
        raise damaged(_VORBIS, "its setup has no modes")
    return found
