"""The method, usable without anything else: phases, when to freeze, similarity of features, cost."""
