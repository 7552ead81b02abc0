"""Simulated players with real pacing: what they measure, and what is broken under them."""
