"""Transformers that turn (audio, text) pairs into features of frozen encoders."""

from clapstack.features._clap import LaionClapPairFeatures, MsClapPairFeatures
from clapstack.features._own import PairFeatures, PrecomputedPairFeatures
from clapstack.features._pair import PAIR_BLOCKS, pair_feature_names, pair_features

__all__ = [
    "PAIR_BLOCKS",
    "LaionClapPairFeatures",
    "MsClapPairFeatures",
    "PairFeatures",
    "PrecomputedPairFeatures",
    "pair_feature_names",
    "pair_features",
]
