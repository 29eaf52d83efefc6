"""Frozen encoders: waveforms or texts in, float32 arrays out.

The only home of torch and transformers in clapstack.
"""

from clapstack.encoders._audio_base import AudioEncoder
from clapstack.encoders._base import ClapEncoder
from clapstack.encoders._registry import clear_encoders, load_encoder

__all__ = ["AudioEncoder", "ClapEncoder", "clear_encoders", "load_encoder"]
