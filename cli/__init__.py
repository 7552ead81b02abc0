"""The command `worldloom <noun> <verb>`: thin, and quick to start."""
