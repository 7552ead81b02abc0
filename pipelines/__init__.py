"""The graphs of the platform and the ways to start them: here, on a cluster, on a clock."""
