"""The emulated AWS: MiniStack, what is deployed to it and how."""
