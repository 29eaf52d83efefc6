"""Displays of models, results and clips, in the style of scikit-learn's displays."""

from clapstack.inspection._agreement import FamilyAgreementDisplay
from clapstack.inspection._calibration import CalibrationCurveDisplay
from clapstack.inspection._distribution import DistributionDisplay
from clapstack.inspection._events import (
    EventExplanation,
    HeardClause,
    explain_events,
    has_event_encoders,
)
from clapstack.inspection._explanation import ExplanationDisplay
from clapstack.inspection._families import FamilyScoresDisplay, family_scores
from clapstack.inspection._leaderboard import LeaderboardDisplay
from clapstack.inspection._prediction import PredictionDisplay
from clapstack.inspection._probe import ProbeDisplay
from clapstack.inspection._residuals import ResidualsDisplay
from clapstack.inspection._spectrogram import (
    Spectrogram,
    SpectrogramDisplay,
    mel_spectrogram,
)
from clapstack.inspection._systems import SystemsDisplay

__all__ = [
    "CalibrationCurveDisplay",
    "DistributionDisplay",
    "EventExplanation",
    "ExplanationDisplay",
    "FamilyAgreementDisplay",
    "FamilyScoresDisplay",
    "HeardClause",
    "LeaderboardDisplay",
    "PredictionDisplay",
    "ProbeDisplay",
    "ResidualsDisplay",
    "Spectrogram",
    "SpectrogramDisplay",
    "SystemsDisplay",
    "explain_events",
    "family_scores",
    "has_event_encoders",
    "mel_spectrogram",
]
