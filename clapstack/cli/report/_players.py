"""Audio players with their clips inside the page."""

from __future__ import annotations

import base64
import io
from typing import Any

import soundfile

from clapstack.audio import describe_audio, read_audio, read_audio_at_own_rate
from clapstack.exceptions import AudioError

Player = dict[str, Any]

_SECONDS = 10  # noise at 48 kHz, the worst case, adds 1.3 MB to the page
_RATE = 48_000  # browsers need no more


def player(audio: Any) -> Player:
    """Return the attributes of a player, or the reason why there is no audio.

    The clip is mixed to mono, cut to 10 s and encoded as 16-bit FLAC, which browsers
    can play.
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
