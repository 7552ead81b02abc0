"""Measurements: what takes how long and how good it is, stated with the machine it was seen on."""
