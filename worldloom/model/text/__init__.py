"""Prompts into embeddings: hashed words for small models, umT5 from its public files."""
