"""The front doors that the emulator lacks: a streaming function URL and REST API."""
