"""Reading of clips: decoding, mixing to mono, resampling and placement of windows.

Every encoder reads clips through this package, so that a path, its bytes and an array
of the same samples have the same embedding on every device.
"""

from clapstack.audio._reading import (
    READING_VERSION,
    HeldClip,
    audio_key,
    read_audio,
    read_audio_at_own_rate,
    read_keyed_audio,
)
from clapstack.audio._samples import MAX_CHANNELS, MAX_RATE, MIN_RATE
from clapstack.audio._sources import FileState, describe_audio, file_state, is_url
from clapstack.audio._windows import short_window_starts, window_starts

__all__ = [
    "MAX_CHANNELS",
    "MAX_RATE",
    "MIN_RATE",
    "READING_VERSION",
    "FileState",
    "HeldClip",
    "audio_key",
    "describe_audio",
    "file_state",
    "is_url",
    "read_audio",
    "read_audio_at_own_rate",
    "read_keyed_audio",
    "short_window_starts",
    "window_starts",
]
