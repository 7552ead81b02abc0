"""Recorded worlds: sources of clips, filters, captions, the clips artifact and its ingestion."""
