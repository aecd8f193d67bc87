"""`seer bench`: how fast this machine runs the agents, and how near that is to what the machine can do."""
