"""A function as it is deployed to the local Lambda service."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class FunctionConfig:
    """A function as it is deployed; ``timeout`` in seconds, ``memory`` in MB."""

    name: str
    handler: str
    code: Path
    """LAMBDA_TASK_ROOT"""
    layer: Path
    """A built layer's root, standing for /opt: holds python/ and streaming-bootstrap."""
    environment: Mapping[str, str]
    timeout: float
    memory: int = 1024
    max_concurrency: int = 100
    layer_sources: Path | None = None
    """A folder whose packages take the place of the layer's, so that an edit counts without a build."""

    def with_environment(self, added: Mapping[str, str]) -> "FunctionConfig":
        """Return the same function with more variables, or others."""
        return replace(self, environment={**self.environment, **added})

    @property
    def region(self) -> str:
        """The region that the function believes to be in."""
        return self.environment.get("AWS_REGION", "us-east-1")
