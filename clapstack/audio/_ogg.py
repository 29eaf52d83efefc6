"""Ogg: pages of its streams, and number of samples in their packets.

libsndfile reads only the first of several consecutive streams, and no more samples than
its last page states.
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
_MOST_PAGES = 1 << 21  # the number of packets of 20 ms in 11 hours
# Duration of an Opus frame in 1/8 ms, by its configuration
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
    """Pages of one stream, and their position in the file."""

    start: int
    end: int
    pages: list[_Page]


def ogg_streams(content: bytes) -> list[Stream] | None:
    """Return the consecutive streams of an Ogg file.

    None for files of other kinds. Raises AudioError if a page is truncated or missing,
    a stream has no end, or several streams run in parallel.
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
                raise damaged(_OGG, f"no page begins at byte {at}, but others follow")
            if begins_file(content, at):
                raise more_behind(_OGG)
            return  # tags, padding or other data, not audio
        body = at + 27 + head[26] if len(head) == 27 else len(content) + 1
        segments = content[at + 27 : body]
        end = body + sum(segments)
        if end > len(content):
            raise truncated(_OGG, "its last page is incomplete")
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
                raise truncated(_OGG, "a stream begins before the previous one ends")
            running[page.stream] = page.number
            if content[page.body : page.body + 8] != b"fishead\0":
                audio.add(page.stream)
            if len(audio) > 1:
                msg = (
                    "the Ogg file contains several parallel streams, as in a film. "
                    "Extract its sound as WAV or FLAC."
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
        # libsndfile rejects a single page that states more than its packets contain.
        refused = len(positions) == 1 and n_samples + skipped < positions[0]
        demuxer = "ogg" if refused else None
        return Stream("Opus", whole, n_samples, 48_000, demuxer=demuxer)
    if head[:5] == b"\x7fFLAC":
        rate = int.from_bytes(head[27:30], "big") >> 4
        n_samples = link.pages[-1].position
        return Stream("FLAC in Ogg", whole, n_samples, rate, demuxer="ogg")
    if head[:8] == b"Speex   ":
        return Stream("Speex", whole, demuxer="ogg")
    msg = "the Ogg file has no Vorbis, Opus, FLAC or Speex. Convert it to WAV or FLAC."
    raise AudioError(msg)


def _n_samples(name: str, link: _Link, durations: Iterator[tuple[int, int]]) -> int:
    """Return the number of samples stated by pages, checked against the packets.

    Each duration is paired with the number of the page on which its packet ends.
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
    # A stream cut from a longer one begins after 0. In one that begins before 0, the
    # first samples are dropped.
    total += min(begin, 0)
    stated = max(page.position for page in link.pages) - max(begin, 0)
    # The last packet is padded, and the last page states where the clip ends in it. The
    # last Opus packet of FFmpeg may be a little shorter than stated.
    if stated - total >= max(last, 1):
        raise truncated(name, f"it states {stated} frames, but has {total}")
    if total - stated >= max(last, 1):
        what = f"it states {stated} frames, but its packets contain {total}"
        raise damaged(name, what)
    return min(stated, total)


def _packets(content: bytes, pages: list[_Page]) -> Iterator[tuple[bytes, int]]:
    """Yield the packets and the page on which each ends."""
    packet = bytearray()
    for number, page in enumerate(pages):
        if bool(page.flags & _CONTINUED) != bool(packet):
            raise damaged(_OGG, "a packet is incomplete")
        at = page.body
        for size in page.segments:
            packet += content[at : at + size]
            at += size
            if size < 255:
                yield bytes(packet), number
                packet.clear()
    if packet:
        raise truncated(_OGG, "its last packet is incomplete")


def _opus_duration(packet: bytes) -> int:
    """Return the number of samples in an Opus packet, at 48 kHz."""
    if not packet:
        return 0
    code = packet[0] & 3
    n_frames = (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[code]
    return n_frames * _OPUS[packet[0] >> 3] * 6


def _vorbis_durations(
    head: bytes, packets: Iterator[tuple[bytes, int]]
) -> Iterator[tuple[int, int]]:
    """Yield the number of samples that each Vorbis packet completes, and its page.

    A packet is a block of one of two sizes, selected by its mode. Half of it overlaps
    the previous block, so that it completes a quarter of the sum of both sizes.
    """
    next(packets, None)  # its comments
    setup, _ = next(packets, (b"", 0))
    sizes = 1 << (head[28] & 15), 1 << (head[28] >> 4)
    long_modes = _vorbis_modes(setup)
    mask = (1 << (len(long_modes) - 1).bit_length()) - 1
    before = 0
    for packet, page in packets:
        if not packet or packet[0] & 1:  # not audio
            continue
        mode = packet[0] >> 1 & mask
        size = sizes[long_modes[mode] if mode < len(long_modes) else 0]
        yield (before + size) // 4 if before else 0, page
        before = size


def _vorbis_modes(setup: bytes) -> list[int]:
    """Return for each mode whether its blocks are long, from the end of the setup.

    The codebooks before the modes can be skipped only by parsing all of them. Each mode
    has 41 bits, 32 of which are zero, and their number precedes the first. Therefore
    modes are read from the end, while they look like modes and the number matches.
    """
    bits = int.from_bytes(setup, "little")
    end = bits.bit_length() - 1  # the framing bit is the last set bit
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
