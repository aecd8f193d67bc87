"""What the commands about many runs do: plan a sweep, train it, reproduce the paper's exhibits."""
