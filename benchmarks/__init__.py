"""What `make bench` runs: every figure that the README quotes, with what it has to reach."""
