"""What the tests' own local stack (fixture `stack`) is started with."""

import os

TTFT = 0.1
RATE = 100.0
TOKENS = 60
MAX_TOKENS_CAP = 20_000
DIRECT_SEND = os.environ.get("DIRECT_SEND", "true")
DELIVERY = "direct" if DIRECT_SEND == "true" else "queued"
FALLBACK_MODEL = "global.amazon.nova-2-lite-v1:0"
