"""Checkpoints of others: read strictly, shard by shard, and mapped onto our names."""
