"""Builders of systems as scikit-learn pipelines."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from clapstack._numerics.suggestions import did_you_mean
from clapstack.agreement import CrossAgreement
from clapstack.families import BOOSTING, CROSS, KERNEL
from clapstack.stacking import ClapStackingRegressor, StandardizedRidge
from clapstack.systems._catalogue import describe_system
from clapstack.systems._checkpoints import choose_checkpoints
from clapstack.systems._families import CLAP_FAMILIES, FAMILIES
from clapstack.systems._presets import PRESETS
from clapstack.systems._rank_ensemble import RankEnsembleRegressor
from clapstack.systems._svr import PairDistances, from_unit, make_two_svrs, to_unit

__all__ = ["make_clap_stack", "make_events", "make_system", "make_union"]

# Names taken by columns of the stack or by parameters of a FeatureUnion.
_TAKEN = (
    "",
    *(CROSS, BOOSTING, KERNEL),
    *FeatureUnion([]).get_params(deep=False),
)
_STEPS = list[tuple[str, Any]]
# Defaults of settings, and the settings that each regressor uses.
_DEFAULTS = {"n_components": 32, "cv": 3, "final_target": "auto"}
_USED = {"stack": set(_DEFAULTS), "ensemble": {"cv"}, "svr": {"cv"}}


def make_clap_stack(
    checkpoints: str | Mapping[str, str | None] = "published",
    *,
    preset: str = "paper",
    families: Sequence[str] | Mapping[str, Any] = CLAP_FAMILIES,
    beats: bool = False,
    events: bool = False,
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
    """Build the paper's CLAP stack, or its best variant, as one pipeline.

    The pipeline computes pair features of each CLAP model and features of their
    agreement, and fits the stacked regression on all of them (paper, sections 3.1 and
    3.3). Read more in the :ref:`User Guide <best>`.

    Parameters
    ----------
    checkpoints : {"published", "bundled"} or mapping, default="published"
        The published weights, from the hub or its local cache; the small bundled test
        checkpoints, which work offline but know only the bundled sounds; or a mapping
        from families to checkpoints that replace the published ones.
    preset : {"paper", "best"}, default="paper"
        "paper" is the paper's stack: ridges and boosted trees, combined by a ridge.
        "best" replaces the trees by a kernel model over all families, from which the
        final ridge starts; fitting takes about four times as long.
    families : sequence of str, or mapping, default=3 CLAP models
        Families to stack, by their names in
        :func:`~clapstack.systems.list_checkpoints`. Without ``"laion_fused"``, the
        result is the 2-CLAP stack. A mapping can also name new families: each value is
        a checkpoint, whose type is detected from its files; a transformer, such as
        ``PairFeatures(my_encoder)``; or None for the checkpoint of that family in
        `checkpoints`.
    beats : bool, default=False
        Whether BEATs logits join every family, as in the paper.
    events : bool, default=False
        Whether to add a family ``events`` (:class:`~clapstack.EventFeatures`), which
        measures whether the sounds of the prompt are present and in the right order,
        using the same CLAP models.
    n_components : int, default=32
        Width of each family's projection in :class:`CrossAgreement`.
    cv : int, splitter or iterable, default=3
        Folds of the first level.
    final_target : {"auto", "score", "both", "rank"}, default="auto"
        Target of the final level.
    random_state : int, default=0
        Seed of the agreement's projections and of the stack.
    device : str, default=None
        Device for the encoders. None uses CUDA if available, else MPS, else the CPU.
    batch_size : int, default=32
        Clips or texts per forward pass.
    cache : path, "auto" or None, default="auto"
        Folder of stored embeddings; None stores nothing.
    n_jobs : int, default=None
        Number of jobs for the stack's first level.
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
        If `checkpoints`, `preset` or a family is unknown, or a family has no
        checkpoint.
    CheckpointError
        If the type of a checkpoint in the mapping is not supported.

    See Also
    --------
    make_system : Build any system of the paper, including this one with BEATs logits.

    Examples
    --------
    >>> from clapstack import make_clap_stack
    >>> pipeline = make_clap_stack("bundled", families=["laion_unfused", "msclap"])
    >>> [name for name, _ in pipeline.steps]
    ['features', 'agreement', 'stack']
    """
    if preset not in PRESETS:
        msg = f"preset must be one of {list(PRESETS)}; got {preset!r}."
        raise ValueError(msg)
    settings = {"device": device, "batch_size": batch_size, "cache": cache}
    wanted = _as_mapping(families)
    if beats:
        wanted.setdefault("beats")
    union = make_union(checkpoints, wanted, **settings, verbose=verbose)
    if events:
        encoders = make_union(checkpoints, families, **settings, verbose=verbose)
        union.transformer_list.append(("events", make_events(encoders)))
    steps = _stack_steps(
        n_components, cv, final_target, random_state, n_jobs, verbose, preset
    )
    return _wired([("features", union), *steps])


def make_system(
    name: str,
    *,
    checkpoints: str | Mapping[str, str | None] = "published",
    beats: bool | str = "auto",
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
    """Build a system of the paper, or an official baseline, by name.

    Parameters
    ----------
    name : str
        One of :func:`~clapstack.list_systems`.
        :func:`~clapstack.systems.describe_system` lists its files, published results
        and choices.
    checkpoints : {"published", "bundled"} or mapping, default="published"
        The published weights; the small bundled test checkpoints, which know only the
        bundled sounds; or a mapping from families to checkpoints, such as ``{"beats":
        "models/BEATs.pt"}``, that replace the published ones. The value None leaves out
        an optional family.
    beats : bool or "auto", default="auto"
        Whether BEATs logits join the families, as in the paper. "auto" adds them if
        `checkpoints` has them, which "bundled" does not.
    n_components : int, default=32
        Width of each family's projection in :class:`CrossAgreement`.
    cv : int, splitter or iterable, default=3
        Folds for out-of-fold predictions.
    final_target : {"auto", "score", "both", "rank"}, default="auto"
        Target of a stack's final level.
    random_state : int, default=0
        Seed of all random draws.
    device : str, default=None
        Device for the encoders. None uses CUDA if available, else MPS, else the CPU.
    batch_size : int, default=32
        Clips or texts per forward pass.
    cache : path, "auto" or None, default="auto"
        Folder of stored embeddings; None stores nothing.
    n_jobs : int, default=None
        Number of jobs for models that are fitted out of fold.
    verbose : bool, default=False
        Show progress.

    Returns
    -------
    pipeline : Pipeline
        A first step ``features``, a FeatureUnion of one transformer per family, and
        the regressor of the system; wired with ``set_output(transform="pandas")``.

    Raises
    ------
    ValueError
        If the system, `checkpoints` or `beats` is unknown, a required family has no
        checkpoint, or the system does not use a given `n_components`, `cv` or
        `final_target`.

    Examples
    --------
    >>> from clapstack import make_system
    >>> pipeline = make_system("msclap", checkpoints="bundled")
    >>> [name for name, _ in pipeline.steps]
    ['features', 'ridge']
    """
    record = describe_system(name)
    if beats not in (True, False, "auto"):
        msg = f"beats must be True, False or 'auto'; got {beats!r}."
        raise ValueError(msg)
    given = {"n_components": n_components, "cv": cv, "final_target": final_target}
    _refuse_unused(name, record.regressor, given)
    families, optional = [*record.families], [*record.optional]
    if beats != "auto" and "beats" not in optional:
        msg = f"beats={beats!r} does not apply to the system {name!r}. Use 'auto'."
        raise ValueError(msg)
    if beats is True:
        families.append("beats")
    if beats != "auto":
        optional.remove("beats")
    settings = {"device": device, "batch_size": batch_size, "cache": cache}
    union = make_union(
        checkpoints,
        families,
        record.blocks,
        optional=optional,
        **settings,
        verbose=verbose,
    )
    steps: _STEPS
    if record.regressor == "stack":
        steps = _stack_steps(
            n_components, cv, final_target, random_state, n_jobs, verbose, record.preset
        )
    elif record.regressor == "ensemble":
        ensemble = RankEnsembleRegressor(
            cv=cv, random_state=random_state, n_jobs=n_jobs
        )
        steps = [("ensemble", ensemble)]
    elif record.regressor == "mlp":
        steps = [("mlp", _make_mlp(random_state))]
    elif record.regressor == "svr":
        first = ("m2d_clap", "msclap", "mga_clap")
        second = ("laion_unfused", "whisper")
        svrs = make_two_svrs(first, second, cv, random_state, n_jobs)
        steps = [("distances", PairDistances()), ("svrs", svrs)]
    else:
        steps = [("ridge", StandardizedRidge())]
    return _wired([("features", union), *steps])


def _refuse_unused(name: str, regressor: str, given: Mapping[str, Any]) -> None:
    """Refuse settings that would not affect the predictions of a system."""
    used = _USED.get(regressor, set())
    unused = [
        key
        for key, value in given.items()
        # A splitter may be an array, which is compared element by element.
        if key not in used
        and (type(value) is not type(_DEFAULTS[key]) or value != _DEFAULTS[key])
    ]
    if unused:
        msg = f"The system {name!r} does not use {', '.join(unused)}. Leave it out."
        raise ValueError(msg)


def make_union(
    checkpoints: str | Mapping[str, str | None],
    families: Sequence[str] | Mapping[str, Any],
    blocks: Sequence[str] | None = None,
    *,
    optional: Sequence[str] = (),
    **settings: Any,
) -> FeatureUnion:
    """Build one transformer per family of encoders, side by side.

    Parameters
    ----------
    checkpoints : {"published", "bundled"} or mapping
        As for :func:`~clapstack.make_clap_stack`.
    families : sequence of str, or mapping
        As for :func:`~clapstack.make_clap_stack`.
    blocks : sequence of str or None, default=None
        Parts of the pair feature (paper, equation 1), for families that have them. None
        keeps the defaults of the transformers.
    optional : sequence of str, default=()
        Families to add if `checkpoints` has a checkpoint for them.
    **settings
        Other parameters of the transformers, such as `device` or `cache`.

    Returns
    -------
    union : FeatureUnion
        The transformers, not yet fitted.

    Raises
    ------
    ValueError
        If `checkpoints` or a family is unknown, or a family has no checkpoint.

    Examples
    --------
    >>> from clapstack.systems import make_union
    >>> make_union("bundled", ["msclap"], ["cosine"]).transformer_list[0][0]
    'msclap'
    """
    made = _as_mapping(families)
    known = [name for name, source in made.items() if source is None]
    unknown = [name for name in [*known, *optional] if name not in FAMILIES]
    if unknown or not made:
        guess = did_you_mean(unknown[0], FAMILIES) if unknown else ""
        msg = (
            f"unknown families {unknown}; there are {list(FAMILIES)}.{guess} Map any "
            "other name to its checkpoint or transformer."
        )
        raise ValueError(msg)
    chosen = choose_checkpoints(checkpoints, known, optional)
    made |= {name: FAMILIES[name].make(at, **settings) for name, at in chosen.items()}
    for name, source in made.items():
        if isinstance(source, str | os.PathLike):
            made[name] = source = _transformer_for(source, settings)
        named = isinstance(name, str) and name not in _TAKEN and "__" not in name
        is_object = hasattr(source, "transform") and not isinstance(source, type)
        if not named or not is_object:
            msg = (
                f"families must map names to checkpoints or to transformers such as "
                f"PairFeatures(your_encoder); got {name!r}: {source!r}. Names must not "
                f"contain '__' or be one of "
                f"{', '.join(map(repr, filter(None, _TAKEN)))}."
            )
            raise ValueError(msg)
        if blocks is not None and "blocks" in source.get_params(deep=False):
            made[name] = clone(source).set_params(blocks=tuple(blocks))
    return FeatureUnion(list(made.items()))


def _as_mapping(families: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(families, str):
        msg = (
            f"families must be a list of names; got {families!r}. Pass [{families!r}]."
        )
        raise ValueError(msg)
    if isinstance(families, Mapping):
        return dict(families)
    return dict.fromkeys(families)


def _transformer_for(checkpoint: str | os.PathLike[str], settings: Any) -> Any:
    """Return the transformer of a checkpoint, by name or detected from its files."""
    features = importlib.import_module("clapstack.features")
    place = os.fspath(checkpoint)
    if not os.path.exists(place):
        for family in FAMILIES.values():
            if family.published == place:
                return family.make(place, **settings)
    return features.features_for(place, **settings)


def make_events(encoders: FeatureUnion) -> Any:
    """Build features of events from the encoders of a union.

    Parameters
    ----------
    encoders : FeatureUnion
        Transformers of CLAP models, as from `make_union`.

    Returns
    -------
    events : EventFeatures
        The transformer, not yet fitted.
    """
    features = importlib.import_module("clapstack.features")
    return features.EventFeatures(encoders)


def _stack_steps(
    n_components: int,
    cv: Any,
    final_target: str,
    random_state: int,
    n_jobs: int | None,
    verbose: bool,
    preset: str,
) -> _STEPS:
    agreement = CrossAgreement(n_components=n_components, random_state=random_state)
    stack = ClapStackingRegressor(
        cv=cv,
        final_target=final_target,
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
        **PRESETS[preset](random_state),
    )
    return [("agreement", agreement), ("stack", stack)]


def _make_mlp(random_state: int) -> TransformedTargetRegressor:
    mlp = MLPRegressor(
        hidden_layer_sizes=(256,),
        early_stopping=True,
        random_state=random_state,
    )
    steps = make_pipeline(StandardScaler(), mlp)
    return TransformedTargetRegressor(steps, func=to_unit, inverse_func=from_unit)


def _wired(steps: _STEPS) -> Pipeline:
    pipeline = Pipeline(steps).set_output(transform="pandas")
    if isinstance(steps[-1][1], StackingRegressor):
        # Its final level is fitted on arrays and would otherwise predict on frames.
        steps[-1][1].set_output(transform="default")
    return pipeline
