"""Drills: one thing is broken on purpose under live sessions, and what players see is judged."""
