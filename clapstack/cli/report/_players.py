"""Clips within a page, so that it needs no other file."""

from __future__ import annotations

import base64
import io
from typing import Any

import soundfile

from clapstack.audio import describe_audio, read_audio, read_audio_at_own_rate
from clapstack.exceptions import AudioError

Player = dict[str, Any]

_SECONDS = 10  # at 48 kHz 1.3 MB of the page at most, if it is noise
_RATE = 48_000  # the most that browsers need


def player(audio: Any) -> Player:
    """Return the attributes of a player, or why there is no sound.

    The clip is mixed to mono, cut after 10 s and written as FLAC of 16 bits, which
    browsers play.
    """
    name = describe_audio(audio)
    try:
        samples, rate = read_audio_at_own_rate(audio)
        if rate > _RATE or rate != int(rate):
            samples, rate = read_audio(audio, _RATE), _RATE
    except AudioError as error:
        return {"name": name, "src": "", "why_not": str(error)}
    is_cut = len(samples) > _SECONDS * rate
    buffer = io.BytesIO()
    part = samples[: int(_SECONDS * rate)].clip(-1, 1)
    soundfile.write(buffer, part, int(rate), format="FLAC", subtype="PCM_16")
    content = base64.b64encode(buffer.getvalue()).decode()
    source = f"data:audio/flac;base64,{content}"
    return {"name": name, "src": source, "cut": _SECONDS if is_cut else None}
