"""Judging a release: what its frames are worth, whether it obeys, remembers and holds out.

Every figure is computed from produced frames against recorded ones; nothing is downloaded. It
does not know pipelines, trackers or registries.
"""
