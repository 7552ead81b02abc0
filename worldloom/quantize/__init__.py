"""8-bit layers, and swapping them into a trained module."""
