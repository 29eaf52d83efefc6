"""A metric of VERSA: scores of generated clips beside its own metrics."""

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
        What :class:`~clapstack.Scorer` takes; or ``"unsupervised"``, the mean cosine of
        the published CLAP encoders.
    use_gpu : bool, default=False
        Whether encoders run on the GPU.

    Returns
    -------
    model : Scorer
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
        Of `clapstack_setup`.
    pred_x : ndarray of shape (n_frames,)
        The clip, on [-1, 1].
    fs : int
        Its rate in Hz.
    text : str
        Its prompt.

    Returns
    -------
    scores : dict of str to float
        ``clapstack``; of a model of several axes ``clapstack_<axis>`` of each.
    """
    score = model.score([pred_x], text, sampling_rate=fs)[0]
    if not model.axes:
        return {_NAME: float(score)}
    names = [f"{_NAME}_{axis}" for axis in model.axes]
    return dict(zip(names, score.tolist(), strict=True))


def register_clapstack_metric(registry: Any) -> None:
    """Add the metric ``clapstack`` to a ``MetricRegistry`` of VERSA.

    Its configuration has ``model``, as for `clapstack_setup`.

    Parameters
    ----------
    registry : versa.definition.MetricRegistry
        What a ``VersaScorer`` is made with.
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
                msg = "the metric clapstack needs a model: add it to its configuration."
                raise ValueError(msg)
            use_gpu = self.config.get("use_gpu", False)
            self.model = clapstack_setup(self.config["model"], use_gpu)

        def compute(
            self, predictions: Any, references: Any = None, metadata: Any = None
        ) -> dict[str, float]:
            facts = metadata or {}
            missing = [n for n in ("sample_rate", "text") if facts.get(n) is None]
            if missing:
                msg = f"the metric clapstack needs {missing} in metadata."
                raise ValueError(msg)
            rate, text = facts["sample_rate"], facts["text"]
            return clapstack_metric(self.model, predictions, rate, text)

        def get_metadata(self) -> Any:
            return metadata

    registry.register(ClapstackMetric, metadata)
