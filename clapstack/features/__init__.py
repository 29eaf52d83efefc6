"""Transformers that turn (audio, text) pairs into features of frozen encoders."""

from clapstack.families import PAIR_BLOCKS
from clapstack.features._audio import (
    AudioMaeFeatures,
    BeatsFeatures,
    EatFeatures,
    WavLmFeatures,
    WhisperFeatures,
)
from clapstack.features._clap import (
    LaionClapPairFeatures,
    M2dClapPairFeatures,
    MsClapPairFeatures,
)
from clapstack.features._ctc import CtcFeatures
from clapstack.features._custom_encoder import PairFeatures
from clapstack.features._events import EventFeatures, EventScores
from clapstack.features._pair_feature import (
    pair_feature_names,
    pair_features,
)
from clapstack.features._precomputed import PrecomputedPairFeatures

__all__ = [
    "PAIR_BLOCKS",
    "AudioMaeFeatures",
    "BeatsFeatures",
    "CtcFeatures",
    "EatFeatures",
    "EventFeatures",
    "EventScores",
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
