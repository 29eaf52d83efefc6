"""Regressors that learn an order of pairs, and are calibrated to the rating scale."""

from clapstack.ranking._regressor import RankingRegressor

__all__ = ["RankingRegressor"]
