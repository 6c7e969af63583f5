"""The local stack: the deployed template on this machine, with everything that it needs from AWS in real time."""
