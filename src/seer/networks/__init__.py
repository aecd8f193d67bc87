"""Networks: encoders turn stacked frames into latents, heads turn latents into values."""
