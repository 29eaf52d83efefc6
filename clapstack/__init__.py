"""Predict how well an audio clip satisfies a text prompt.

clapstack stacks frozen CLAP embeddings. Each CLAP model yields pair features;
cross-validated regressors score them, and a ridge combines the scores. Names are
imported on first use, so ``import clapstack`` loads neither torch nor transformers.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

_HOME = {
    "AudioMaeFeatures": "clapstack.features",
    "BeatsFeatures": "clapstack.features",
    "ClapStackingRegressor": "clapstack.stacking",
    "CrossAgreement": "clapstack.agreement",
    "CtcFeatures": "clapstack.features",
    "EatFeatures": "clapstack.features",
    "EventFeatures": "clapstack.features",
    "LaionClapPairFeatures": "clapstack.features",
    "M2dClapPairFeatures": "clapstack.features",
    "MgaClapPairFeatures": "clapstack.features",
    "MsClapPairFeatures": "clapstack.features",
    "PairFeatures": "clapstack.features",
    "PeAudioPairFeatures": "clapstack.features",
    "PrecomputedPairFeatures": "clapstack.features",
    "Scorer": "clapstack.scoring",
    "SentenceTransformerPairFeatures": "clapstack.features",
    "WavLmFeatures": "clapstack.features",
    "WhisperFeatures": "clapstack.features",
    "clap_score": "clapstack.scoring",
    "list_systems": "clapstack.systems",
    "load_model": "clapstack.sharing",
    "make_clap_stack": "clapstack.systems",
    "make_system": "clapstack.systems",
    "save_model": "clapstack.sharing",
}

__all__ = [
    "AudioMaeFeatures",
    "BeatsFeatures",
    "ClapStackingRegressor",
    "CrossAgreement",
    "CtcFeatures",
    "EatFeatures",
    "EventFeatures",
    "LaionClapPairFeatures",
    "M2dClapPairFeatures",
    "MgaClapPairFeatures",
    "MsClapPairFeatures",
    "PairFeatures",
    "PeAudioPairFeatures",
    "PrecomputedPairFeatures",
    "Scorer",
    "SentenceTransformerPairFeatures",
    "WavLmFeatures",
    "WhisperFeatures",
    "clap_score",
    "list_systems",
    "load_model",
    "make_clap_stack",
    "make_system",
    "save_model",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
