"""The front doors that the emulator lacks: a streaming function URL and REST API, and AWS's end of a WebSocket."""
