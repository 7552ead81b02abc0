"""Load and disturbance: simulated players, what they measure, and drills that break things."""
