"""Transformers that turn (audio, text) pairs into features of frozen encoders."""

from clapstack.families import PAIR_BLOCKS
from clapstack.features._audio import (
    AudioMaeFeatures,
    BeatsFeatures,
    EatFeatures,
    WavLmFeatures,
    WhisperFeatures,
)
from clapstack.features._choosing import features_for
from clapstack.features._clap import (
    LaionClapPairFeatures,
    M2dClapPairFeatures,
    MgaClapPairFeatures,
    MsClapPairFeatures,
    PeAudioPairFeatures,
    SentenceTransformerPairFeatures,
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
    "MgaClapPairFeatures",
    "MsClapPairFeatures",
    "PairFeatures",
    "PeAudioPairFeatures",
    "PrecomputedPairFeatures",
    "SentenceTransformerPairFeatures",
    "WavLmFeatures",
    "WhisperFeatures",
    "features_for",
    "pair_feature_names",
    "pair_features",
]
