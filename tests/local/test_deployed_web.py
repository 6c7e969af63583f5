"""The web client in the bucket of a stack on AWS."""

import json
from pathlib import Path
from typing import Any

import pytest

from local.deployed_web import put
from local.errors import StackError

OUTPUTS = {"WebBucketName": "bucket", "WebDistributionId": "E123", "WebUrl": "https://d.cloudfront.net"}
CONFIG = {"functionUrl": "https://abc.lambda-url.eu-central-1.on.aws", "region": "eu-central-1"}


class Recorder:
    """Stands for S3's and CloudFront's clients."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.invalidated: list[str] = []

    def put_object(self, *, Bucket: str, Key: str, **rest: Any) -> None:  # noqa: N803 - the SDK's names
        assert Bucket == "bucket"
        self.objects[Key] = rest

    def create_invalidation(self, *, DistributionId: str, InvalidationBatch: dict[str, Any]) -> None:  # noqa: N803
        assert DistributionId == "E123"
        paths = InvalidationBatch["Paths"]
        assert paths["Quantity"] == len(paths["Items"])
        self.invalidated = paths["Items"]


@pytest.fixture
def build(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<title>page</title>")
    (tmp_path / "assets" / "index-a1b2.js").write_text("1")
    (tmp_path / "built").touch()
    return tmp_path


def test_the_page_comes_when_all_that_it_loads_is_there_with_the_stacks_addresses(build: Path) -> None:
    aws = Recorder()
    assert put(aws, aws, build, CONFIG, OUTPUTS) == 3
    assert list(aws.objects) == ["config.json", "assets/index-a1b2.js", "index.html"]
    assert json.loads(aws.objects["config.json"]["Body"]) == CONFIG
    assert aws.objects["assets/index-a1b2.js"]["ContentType"] == "text/javascript"
    assert "immutable" in aws.objects["assets/index-a1b2.js"]["CacheControl"]
    for key in ("config.json", "index.html"):
        assert aws.objects[key]["CacheControl"] == "no-cache"
        assert f"/{key}" in aws.invalidated


def test_a_stack_without_a_place_for_it_is_told_how_to_get_one(build: Path) -> None:
    aws = Recorder()
    with pytest.raises(StackError, match="WebClient=true"):
        put(aws, aws, build, CONFIG, {})
    assert aws.objects == {}


def test_nothing_is_put_where_nothing_is_built(tmp_path: Path) -> None:
    aws = Recorder()
    with pytest.raises(StackError, match="make web"):
        put(aws, aws, tmp_path, CONFIG, OUTPUTS)
    assert (aws.objects, aws.invalidated) == ({}, [])
