"""Read run folders; draw and tabulate what they amount to."""
