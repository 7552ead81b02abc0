"""Long-running parts: inference, the client, the registry and the servers beside them."""
