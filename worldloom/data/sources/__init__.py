"""Where clips come from: a procedural world and a game engine, both with exact poses."""
