"""Displays of models, in the manner of scikit-learn's."""

from clapstack.inspection._agreement import FamilyAgreementDisplay
from clapstack.inspection._calibration import CalibrationCurveDisplay
from clapstack.inspection._explanation import ExplanationDisplay
from clapstack.inspection._families import FamilyScoresDisplay, family_scores
from clapstack.inspection._leaderboard import LeaderboardDisplay
from clapstack.inspection._prediction import PredictionDisplay
from clapstack.inspection._residuals import ResidualsDisplay
from clapstack.inspection._spectrogram import (
    Spectrogram,
    SpectrogramDisplay,
    mel_spectrogram,
)

__all__ = [
    "CalibrationCurveDisplay",
    "ExplanationDisplay",
    "FamilyAgreementDisplay",
    "FamilyScoresDisplay",
    "LeaderboardDisplay",
    "PredictionDisplay",
    "ResidualsDisplay",
    "Spectrogram",
    "SpectrogramDisplay",
    "family_scores",
    "mel_spectrogram",
]
