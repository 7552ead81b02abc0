"""Long memory: past latents with their poses, and which of them a segment gets to see."""
