"""Flow matching: schedule, solver, loss, guidance, and the error buffer of self-correction."""
