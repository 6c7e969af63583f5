"""The streaming function of the tests, and a layer for it that is linked instead of built."""

from pathlib import Path

_REPOSITORY = Path(__file__).parents[1]
FUNCTION = _REPOSITORY / "tests" / "streaming_function"
LAYER_SOURCES = _REPOSITORY / "layers" / "tokenstream"


def link_layer(root: Path) -> Path:
    """Make `root` a layer's root: what the sources consist of, without the dependencies."""
    (root / "python").mkdir(parents=True)
    (root / "python" / "tokenstream").symlink_to(LAYER_SOURCES / "tokenstream")
    (root / "streaming-bootstrap").symlink_to(LAYER_SOURCES / "streaming-bootstrap")
    return root
