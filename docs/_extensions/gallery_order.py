"""The order of the gallery: the quick start, then by name."""


def quick_start_first(filename):
    """Return the key to sort a file by."""
    return filename != "plot_quickstart.py", filename
