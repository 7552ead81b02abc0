"""How modules learn: the learner (DeepSpeed), its checkpoints, the loop, where metrics go."""
