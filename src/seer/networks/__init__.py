"""Networks: encoders turn stacked frames into features, heads turn features into values."""
