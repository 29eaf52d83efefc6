"""Contrastive audio-language encoders: LAION, MS, M2D and MGA-CLAP, PE Audio."""

from clapstack.encoders.clap._base import ClapEncoder

__all__ = ["ClapEncoder"]
