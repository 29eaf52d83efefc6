"""Fitted models as files that others can load without running what is in them."""

from clapstack.sharing._model import describe_model, load_model, save_model

__all__ = ["describe_model", "load_model", "save_model"]
