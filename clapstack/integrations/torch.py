"""Metric for torchmetrics: the mean score of generated clips."""

from __future__ import annotations

from typing import Any

import torch

from clapstack._optional import import_optional
from clapstack.scoring import Scorer

__all__ = ["AlignmentScore"]

Metric: Any = import_optional(
    "torchmetrics", extra="torchmetrics", caller="clapstack.integrations.torch"
).Metric


class AlignmentScore(Metric):
    """Mean alignment score of clips and their texts, as a torchmetrics metric.

    It can be part of a ``MetricCollection``. With ``torch.distributed``, the mean is
    taken over all processes. Read more in the :ref:`User Guide <torchmetrics>`.

    Parameters
    ----------
    model : Scorer, estimator, str or path-like
        A scorer, or a model as for :class:`~clapstack.Scorer`.
    sampling_rate : int, default=None
        Sampling rate in Hz of clips that are arrays or tensors, unless passed to
        `update`.
    errors : {"raise", "nan"}, default="raise"
        Treatment of unusable pairs, such as silent clips: ``"raise"`` raises an error
        that names them; ``"nan"`` leaves them out of the mean and counts them in
        `n_unusable`.
    **kwargs
        Parameters of ``torchmetrics.Metric``.

    Attributes
    ----------
    n_scored, n_unusable : Tensor of shape (), int64
        Number of scored and of unusable pairs since the last reset.

    See Also
    --------
    clapstack.Scorer : The scores of single pairs, such as for a reward.

    Examples
    --------
    >>> import torch
    >>> from clapstack import Scorer
    >>> from clapstack.integrations.torch import AlignmentScore
    >>> metric = AlignmentScore(Scorer.unsupervised("bundled"), sampling_rate=16000)
    >>> clips = torch.linspace(-1, 1, 32000).reshape(2, 1, 16000) ** 3
    >>> metric.update(clips, ["rain", "a dog barks"])
    >>> metric.compute().shape
    torch.Size([])
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(
        self,
        model: Any,
        *,
        sampling_rate: int | None = None,
        errors: str = "raise",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.scorer = model if isinstance(model, Scorer) else Scorer(model)
        self.sampling_rate = sampling_rate
        self.errors = errors
        # In double precision: in single precision, the sum of a million scores is wrong
        # in the fifth digit.
        shape = (len(self.scorer.axes),) if self.scorer.axes else ()
        total = torch.zeros(shape, dtype=torch.float64)
        count = torch.zeros((), dtype=torch.int64)
        self.add_state("total", total, dist_reduce_fx="sum")
        self.add_state("n_scored", count, dist_reduce_fx="sum")
        self.add_state("n_unusable", count.clone(), dist_reduce_fx="sum")

    def update(self, audio: Any, text: Any, sampling_rate: Any = None) -> None:
        """Score pairs and add them to the mean.

        Parameters
        ----------
        audio, text : object
            Clips and texts, as for :meth:`Scorer.score <clapstack.Scorer.score>`, such
            as a tensor of shape (n, n_channels, n_frames) on any device and n texts.
        sampling_rate : int or sequence of int, default=None
            Sampling rate in Hz: one for all clips, or one per clip. None uses that of
            the metric.
        """
        rate = self.sampling_rate if sampling_rate is None else sampling_rate
        scores = torch.from_numpy(
            self.scorer.score(audio, text, sampling_rate=rate, errors=self.errors)
        )
        is_scored = scores.reshape(len(scores), -1).isfinite().all(dim=1)
        self.total += scores[is_scored].sum(dim=0).to(self.total.device)
        self.n_scored += int(is_scored.sum())
        self.n_unusable += int((~is_scored).sum())

    def compute(self) -> Any:
        """Return the mean score.

        Returns
        -------
        mean : Tensor of shape (), float64, or dict of str to Tensor
            The mean; for a model with several axes, a dict by axis. NaN if no pair has
            been scored.
        """
        mean = self.total / self.n_scored
        axes = self.scorer.axes
        return dict(zip(axes, mean, strict=True)) if axes else mean
