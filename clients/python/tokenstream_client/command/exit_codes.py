"""What the command ends with. Wrong usage ends with 2, which is argparse's own."""

COMPLETE = 0
FAILED = 1
INTERRUPTED = 130
BROKEN_PIPE = 141
