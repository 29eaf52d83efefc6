"""The XACLE folder, the bundled sounds, and simulated scenes and listeners."""

from clapstack.datasets._simulated import (
    SimulatedCaption,
    SimulatedScene,
    make_simulated_xacle,
    render_simulated_scene,
    simulate_caption,
    simulate_ratings,
    simulate_scene,
    simulated_alignment,
)
from clapstack.datasets._sounds import SoundClass, load_bundled_sounds, sound_classes
from clapstack.datasets._xacle import load_xacle

__all__ = [
    "SimulatedCaption",
    "SimulatedScene",
    "SoundClass",
    "load_bundled_sounds",
    "load_xacle",
    "make_simulated_xacle",
    "render_simulated_scene",
    "simulate_caption",
    "simulate_ratings",
    "simulate_scene",
    "simulated_alignment",
    "sound_classes",
]
