"""The paper's systems, and the challenge's baselines, as scikit-learn pipelines."""

from clapstack.systems._build import (
    make_clap_stack,
    make_events,
    make_system,
    make_union,
)
from clapstack.systems._catalogue import (
    Figures,
    SystemRecord,
    describe_system,
    list_systems,
)
from clapstack.systems._checkpoints import (
    bundled_checkpoints,
    has_seen_ratings,
    list_checkpoints,
)
from clapstack.systems._families import (
    CLAP_FAMILIES,
    FAMILIES,
    Family,
    hub_downloads,
)
from clapstack.systems._rank_ensemble import RankEnsembleRegressor
from clapstack.systems._svr import PairDistances

__all__ = [
    "CLAP_FAMILIES",
    "FAMILIES",
    "Family",
    "Figures",
    "PairDistances",
    "RankEnsembleRegressor",
    "SystemRecord",
    "bundled_checkpoints",
    "describe_system",
    "has_seen_ratings",
    "hub_downloads",
    "list_checkpoints",
    "list_systems",
    "make_clap_stack",
    "make_events",
    "make_system",
    "make_union",
]
