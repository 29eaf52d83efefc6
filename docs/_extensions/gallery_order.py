"""Order of the gallery: first steps, work with scores, then how models are built."""

_ORDER = (
    "plot_quickstart.py",
    "plot_scores_at_work.py",
    "plot_comparing_generators.py",
    "plot_inspection.py",
    "plot_own_encoder.py",
    "plot_precomputed.py",
    "plot_comparing_systems.py",
    "plot_calibration_and_intervals.py",
    "plot_listeners.py",
    "plot_preferences.py",
    "plot_search.py",
    "plot_streaming.py",
)


def by_task(filename):
    """Return the key to sort an example by; examples not listed come last, by name."""
    place = _ORDER.index(filename) if filename in _ORDER else len(_ORDER)
    return place, filename
