"""The whole service on this machine: a gateway and inference servers as child processes."""
