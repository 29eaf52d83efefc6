"""The paper's systems as scikit-learn pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.pipeline import FeatureUnion, Pipeline

from clapstack.agreement import CrossAgreement
from clapstack.features import LaionClapPairFeatures, MsClapPairFeatures
from clapstack.stacking import ClapStackingRegressor

__all__ = ["CLAP_FAMILIES", "make_clap_stack"]

# family : transformer, published checkpoint, bundled mini checkpoint
CLAP_FAMILIES: dict[str, tuple[type, str, str]] = {
    "laion_unfused": (
        LaionClapPairFeatures,
        "laion/clap-htsat-unfused",
        "bundled:laion-unfused",
    ),
    "laion_fused": (
        LaionClapPairFeatures,
        "laion/clap-htsat-fused",
        "bundled:laion-fused",
    ),
    "msclap": (MsClapPairFeatures, "microsoft/msclap", "bundled:msclap"),
}


def make_clap_stack(
    checkpoints: str = "published",
    *,
    families: Sequence[str] = tuple(CLAP_FAMILIES),
    n_components: int = 32,
    cv: Any = 3,
    final_target: str = "auto",
    random_state: int = 0,
    device: str | None = None,
    batch_size: int = 32,
    cache: Any = "auto",
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Pipeline:
    """Build the paper's CLAP stack as one pipeline.

    Pair features of each CLAP model, features of their agreement, and the stacked
    regression on all of them (paper, sections 3.1 and 3.3).

    Parameters
    ----------
    checkpoints : {"published", "bundled"}, default="published"
        The published weights, from the hub or its local cache; or the bundled mini
        checkpoints, which work offline and know the bundled sounds only.
    families : sequence of str, default=("laion_unfused", "laion_fused", "msclap")
        The CLAP models to stack. Without ``"laion_fused"`` it is the 2-CLAP stack.
    n_components : int, default=32
        Width of each family's projection in :class:`CrossAgreement`.
    cv : int, splitter or iterable, default=3
        Folds of the first level.
    final_target : {"auto", "score", "rank"}, default="auto"
        Target of the final level.
    random_state : int, default=0
        Seed of the agreement's projections and of the stack.
    device : str, default=None
        Where the encoders run; None takes CUDA, then MPS, then the CPU.
    batch_size : int, default=32
        Clips or texts in one forward pass.
    cache : path, "auto" or None, default="auto"
        Where embeddings are stored.
    n_jobs : int, default=None
        Jobs of the stack's first level.
    verbose : bool, default=False
        Show progress.

    Returns
    -------
    pipeline : Pipeline
        Steps ``features`` (a FeatureUnion of one transformer per family),
        ``agreement`` and ``stack``, wired with ``set_output(transform="pandas")``.

    Raises
    ------
    ValueError
        If `checkpoints` or a family is unknown.

    Notes
    -----
    The paper also joins BEATs logits to each family. Add them as a further
    transformer of the union, under any name: the stack joins audio-only families to
    every contrastive one.

    Examples
    --------
    >>> from clapstack import make_clap_stack
    >>> pipeline = make_clap_stack("bundled", families=["laion_unfused", "msclap"])
    >>> [name for name, _ in pipeline.steps]
    ['features', 'agreement', 'stack']
    """
    if checkpoints not in ("published", "bundled"):
        msg = f"checkpoints must be 'published' or 'bundled'; got {checkpoints!r}."
        raise ValueError(msg)
    unknown = [name for name in families if name not in CLAP_FAMILIES]
    if unknown or not families:
        msg = (
            f"families must be some of {list(CLAP_FAMILIES)}; got {list(families)}. "
            "Add other encoders to the pipeline's FeatureUnion."
        )
        raise ValueError(msg)
    encoders = []
    for name in families:
        transformer, published, bundled = CLAP_FAMILIES[name]
        checkpoint = published if checkpoints == "published" else bundled
        settings = {"device": device, "batch_size": batch_size, "cache": cache}
        encoders.append((name, transformer(checkpoint, **settings, verbose=verbose)))
    agreement = CrossAgreement(n_components=n_components, random_state=random_state)
    stack = ClapStackingRegressor(
        cv=cv,
        final_target=final_target,
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    steps = [
        ("features", FeatureUnion(encoders)),
        ("agreement", agreement),
        ("stack", stack),
    ]
    return Pipeline(steps).set_output(transform="pandas")
