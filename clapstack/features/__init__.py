"""Transformers that turn (audio, text) pairs into features of frozen encoders."""

from clapstack.features._audiomae import AudioMaeFeatures
from clapstack.features._beats import BeatsFeatures
from clapstack.features._clap import LaionClapPairFeatures, MsClapPairFeatures
from clapstack.features._ctc import CtcFeatures
from clapstack.features._custom import PairFeatures, PrecomputedPairFeatures
from clapstack.features._eat import EatFeatures
from clapstack.features._m2d import M2dClapPairFeatures
from clapstack.features._pair_feature import (
    PAIR_BLOCKS,
    pair_feature_names,
    pair_features,
)
from clapstack.features._wavlm import WavLmFeatures
from clapstack.features._whisper import WhisperFeatures

__all__ = [
    "PAIR_BLOCKS",
    "AudioMaeFeatures",
    "BeatsFeatures",
    "CtcFeatures",
    "EatFeatures",
    "LaionClapPairFeatures",
    "M2dClapPairFeatures",
    "MsClapPairFeatures",
    "PairFeatures",
    "PrecomputedPairFeatures",
    "WavLmFeatures",
    "WhisperFeatures",
    "pair_feature_names",
    "pair_features",
]
