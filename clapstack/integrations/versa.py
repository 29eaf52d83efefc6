"""Metric for VERSA: scores of generated clips."""

from __future__ import annotations

from typing import Any

from clapstack.scoring import Scorer

__all__ = ["clapstack_metric", "clapstack_setup", "register_clapstack_metric"]

_NAME = "clapstack"


def clapstack_setup(model: Any, use_gpu: bool = False) -> Scorer:
    """Load a model for `clapstack_metric`.

    Parameters
    ----------
    model : str, path-like or estimator
        A model as for :class:`~clapstack.Scorer`; or ``"unsupervised"`` for the mean
        cosine of the published CLAP encoders.
    use_gpu : bool, default=False
        Whether to run encoders on the GPU.

    Returns
    -------
    model : Scorer
        The loaded model.
    """
    device = "cuda" if use_gpu else "cpu"
    if model == "unsupervised":
        return Scorer.unsupervised(device=device)
    return Scorer(model, device=device)


def clapstack_metric(
    model: Scorer, pred_x: Any, fs: int, text: str
) -> dict[str, float]:
    """Score one clip.

    Parameters
    ----------
    model : Scorer
        Model from `clapstack_setup`.
    pred_x : ndarray of shape (n_frames,)
        The clip, with samples in [-1, 1].
    fs : int
        Sampling rate in Hz.
    text : str
        The prompt.

    Returns
    -------
    scores : dict of str to float
        The score as ``clapstack``; for a model with several axes, the score of each as
        ``clapstack_<axis>``.
    """
    score = model.score([pred_x], text, sampling_rate=fs)[0]
    if not model.axes:
        return {_NAME: float(score)}
    names = [f"{_NAME}_{axis}" for axis in model.axes]
    return dict(zip(names, score.tolist(), strict=True))


def register_clapstack_metric(registry: Any) -> None:
    """Add the metric ``clapstack`` to a ``MetricRegistry`` of VERSA.

    The configuration of the metric must contain ``model``, as for `clapstack_setup`.

    Parameters
    ----------
    registry : versa.definition.MetricRegistry
        Registry of a ``VersaScorer``.
    """
    from versa.definition import (
        BaseMetric,
        MetricCategory,
        MetricMetadata,
        MetricType,
    )

    metadata = MetricMetadata(
        name=_NAME,
        category=MetricCategory.INDEPENDENT,
        metric_type=MetricType.DICT,
        requires_reference=False,
        requires_text=True,
        gpu_compatible=True,
        auto_install=False,
        dependencies=["clapstack"],
        description="How well a clip satisfies its prompt.",
    )

    class ClapstackMetric(BaseMetric):
        def _setup(self) -> None:
            if "model" not in self.config:
                msg = "the metric clapstack needs a model. Add it to its configuration."
                raise ValueError(msg)
            use_gpu = self.config.get("use_gpu", False)
            self.model = clapstack_setup(self.config["model"], use_gpu)

        def compute(
            self, predictions: Any, references: Any = None, metadata: Any = None
        ) -> dict[str, float]:
            facts = metadata or {}
            missing = [n for n in ("sample_rate", "text") if facts.get(n) is None]
            if missing:
                msg = f"the metric clapstack needs {missing} in metadata. Add them."
                raise ValueError(msg)
            rate, text = facts["sample_rate"], facts["text"]
            return clapstack_metric(self.model, predictions, rate, text)

        def get_metadata(self) -> Any:
            return metadata

    registry.register(ClapstackMetric, metadata)
