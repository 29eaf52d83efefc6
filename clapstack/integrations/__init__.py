"""Other people's interfaces: a metric of torchmetrics, and one of VERSA.

Each module imports the library whose interface it has: ``clapstack.integrations.torch``
and ``clapstack.integrations.versa``.
"""

__all__: list[str] = []
