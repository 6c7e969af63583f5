"""How far the stack goes: which quota breaks first, at how many streams, at what cost, and what the lag is near it.

On paper from the cost model's quantities, and in a simulation. `python -m benchmarks.scale` prints the tables of
docs/scale.md.
"""
