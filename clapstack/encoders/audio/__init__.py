"""Audio-only encoders: BEATs, EAT, AudioMAE, Whisper, WavLM, CTC."""

from clapstack.encoders.audio._base import AudioEncoder

__all__ = ["AudioEncoder"]
