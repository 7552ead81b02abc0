"""What `worldloom doctor` looks at: the machine, the installed parts, a cluster."""
