"""Model files: fitted models that can be loaded without running their content."""

from clapstack.sharing._model import describe_model, load_model, save_model

__all__ = ["describe_model", "load_model", "save_model"]
