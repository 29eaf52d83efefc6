"""Frozen encoders that map waveforms or texts to float32 arrays.

This is the only part of clapstack that imports torch and transformers.
"""

from clapstack.encoders._kinds import kind_of
from clapstack.encoders._registry import clear_encoders, load_encoder
from clapstack.encoders.audio import AudioEncoder
from clapstack.encoders.clap import ClapEncoder

__all__ = ["AudioEncoder", "ClapEncoder", "clear_encoders", "kind_of", "load_encoder"]
