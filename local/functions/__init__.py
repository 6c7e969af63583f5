"""A Lambda service of the stack's own: a Runtime API and a pool of worker processes."""
