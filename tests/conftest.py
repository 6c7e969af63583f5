import os
import signal

from hypothesis import HealthCheck, settings

# Powertools reads it where its metrics are made, at import; on Lambda the template sets it.
os.environ["POWERTOOLS_METRICS_NAMESPACE"] = "tokenstream"

# A shell ignores SIGINT for its background jobs, and whatever they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's affair.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
