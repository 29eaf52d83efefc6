"""Contrastive audio-language encoders: LAION-CLAP, MS-CLAP, M2D-CLAP."""

from clapstack.encoders.clap._base import ClapEncoder

__all__ = ["ClapEncoder"]
