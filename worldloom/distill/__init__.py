"""Students: few-step transformers by distribution matching, light decoders by regression."""
