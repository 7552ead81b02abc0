"""Traces of actions: from an action's receipt to the first frame that obeys it.

Without a collector nothing is recorded and nothing is sent. It does not know sessions.
"""

from __future__ import annotations


class Tracing:
    """Makes spans, or none."""

    @classmethod
    def off(cls) -> Tracing:
        """Return a tracing that records nothing."""
        return cls()
