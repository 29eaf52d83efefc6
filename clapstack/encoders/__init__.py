"""Frozen encoders: waveforms or texts in, float32 arrays out.

The only home of torch and transformers in clapstack.
"""

from clapstack.encoders._kinds import kind_of
from clapstack.encoders._registry import clear_encoders, load_encoder
from clapstack.encoders.audio import AudioEncoder
from clapstack.encoders.clap import ClapEncoder

__all__ = ["AudioEncoder", "ClapEncoder", "clear_encoders", "kind_of", "load_encoder"]
