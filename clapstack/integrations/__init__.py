"""Metrics for torchmetrics and VERSA.

The modules ``clapstack.integrations.torch`` and ``clapstack.integrations.versa`` need
the respective library.
"""

__all__: list[str] = []
