"""Transformers that turn (audio, text) pairs into features of frozen encoders."""

from clapstack.features._audiomae import AudioMaeFeatures
from clapstack.features._clap import LaionClapPairFeatures, MsClapPairFeatures
from clapstack.features._ctc import CtcFeatures
from clapstack.features._own import PairFeatures, PrecomputedPairFeatures
from clapstack.features._pair import PAIR_BLOCKS, pair_feature_names, pair_features
from clapstack.features._wavlm import WavLmFeatures
from clapstack.features._whisper import WhisperFeatures

__all__ = [
    "PAIR_BLOCKS",
    "AudioMaeFeatures",
    "CtcFeatures",
    "LaionClapPairFeatures",
    "MsClapPairFeatures",
    "PairFeatures",
    "PrecomputedPairFeatures",
    "WavLmFeatures",
    "WhisperFeatures",
    "pair_feature_names",
    "pair_features",
]
