"""`python -m local.deployed_web STACK BUILD`: puts the built web client into the bucket of a stack on AWS.

With it goes `config.json`, made from the stack's outputs: one build serves every stack.
"""

import argparse
import json
import mimetypes
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import botocore.session
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

from local.deployed_endpoints import deployed_endpoints, stack_outputs
from local.errors import StackError

# Python's own table, and the system's, may have an older one, which browsers don't run as a module.
mimetypes.add_type("text/javascript", ".js")

_KEPT = "public, max-age=31536000, immutable"
"""Of files whose names change with their content."""

_ASKED_FOR = "no-cache"


def objects(build: Path, config: dict[str, str]) -> Iterator[tuple[str, bytes, str, str]]:
    """Give key, content, media type and caching of each object; the page itself comes last, when all it names is there.

    Raises `StackError` where there is no build.
    """
    page = build / "index.html"
    if not page.exists():
        raise StackError(f"The web client is not built ({page} is missing): make web")
    yield "config.json", json.dumps(config).encode(), "application/json", _ASKED_FOR
    for path in sorted(build.rglob("*")):
        if path.is_file() and path not in {page, build / "built"}:
            key = path.relative_to(build).as_posix()
            media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            yield key, path.read_bytes(), media_type, _KEPT if key.startswith("assets/") else _ASKED_FOR
    yield "index.html", page.read_bytes(), "text/html; charset=utf-8", _ASKED_FOR


def put(s3: Any, cloudfront: Any, build: Path, config: dict[str, str], outputs: dict[str, str]) -> int:
    """Put the objects, and have the distribution ask for what is not kept; returns how many. Raises `StackError`.

    What an earlier build has put stays: pages that are open may still load it.
    """
    if not {"WebBucketName", "WebDistributionId"} <= outputs.keys():
        raise StackError("The stack has no place for the web client: deploy it with the parameter WebClient=true.")
    count = 0
    for key, content, media_type, caching in objects(build, config):
        s3.put_object(
            Bucket=outputs["WebBucketName"], Key=key, Body=content, ContentType=media_type, CacheControl=caching
        )
        count += 1
    cloudfront.create_invalidation(
        DistributionId=outputs["WebDistributionId"],
        InvalidationBatch={
            "Paths": {"Quantity": 3, "Items": ["/", "/index.html", "/config.json"]},
            "CallerReference": str(time.time_ns()),
        },
    )
    return count


def main(arguments: Sequence[str]) -> int:
    """Do it with the user's own credentials and region; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.deployed_web")
    parser.add_argument("stack", help="the CloudFormation stack's name")
    parser.add_argument("build", type=Path, help="the folder of the built web client")
    parser.add_argument("--region", default=os.environ.get("AWS_REGION"), help="the stack's")
    options = parser.parse_args(arguments)
    session = botocore.session.get_session()
    try:
        cloudformation = session.create_client("cloudformation", options.region)
        outputs = stack_outputs(cloudformation, options.stack)
        config = deployed_endpoints(cloudformation, options.stack)
        s3 = session.create_client("s3", options.region)
        count = put(s3, session.create_client("cloudfront", options.region), options.build, config, outputs)
    except NoRegionError:
        print("error: In which region is the stack? Set AWS_REGION, or give --region.", file=sys.stderr)
        return 1
    except (StackError, BotoCoreError, ClientError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"put {count} files; the page is at {outputs['WebUrl']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
