"""The gateway: who may walk where, and every frame on its way to them. No torch, no model."""
