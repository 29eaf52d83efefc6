"""Loaders of XACLE and RELATE, bundled sounds, and simulated scenes and listeners."""

from clapstack.datasets._relate import load_relate
from clapstack.datasets._scenes import (
    SimulatedCaption,
    SimulatedScene,
    render_simulated_scene,
    simulate_caption,
    simulate_scene,
    simulated_alignment,
)
from clapstack.datasets._simulated import make_simulated_xacle, simulate_ratings
from clapstack.datasets._sounds import SoundClass, load_bundled_sounds, sound_classes
from clapstack.datasets._splits import find_overlaps, probe_split
from clapstack.datasets._xacle import list_xacle_splits, load_xacle, load_xacle_ranking

__all__ = [
    "SimulatedCaption",
    "SimulatedScene",
    "SoundClass",
    "find_overlaps",
    "list_xacle_splits",
    "load_bundled_sounds",
    "load_relate",
    "load_xacle",
    "load_xacle_ranking",
    "make_simulated_xacle",
    "probe_split",
    "render_simulated_scene",
    "simulate_caption",
    "simulate_ratings",
    "simulate_scene",
    "simulated_alignment",
    "sound_classes",
]
