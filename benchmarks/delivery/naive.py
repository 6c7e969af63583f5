"""The naive way, against which the rest is measured: a call of boto3's for each token, while the model waits.

Written as samples show it. `appsync` makes a session, its credentials, a signature and a connection for each token.
"""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import boto3
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from benchmarks.delivery.jobs import Sink, serve

_REGION = os.environ["AWS_REGION"]
_MUTATION = """
mutation PublishToken($sessionId: ID!, $token: String!, $sequence: Int!) {
  publishToken(sessionId: $sessionId, token: $token, sequence: $sequence) { sessionId token sequence }
}
"""

_bedrock = boto3.client("bedrock-runtime", region_name=_REGION)
_connections = boto3.client(
    "apigatewaymanagementapi", region_name=_REGION, endpoint_url=os.environ["WEBSOCKET_ENDPOINT"]
)
_topics = boto3.client("sns", region_name=_REGION)


def _tokens() -> Iterator[str]:
    answer = _bedrock.invoke_model_with_response_stream(
        modelId="anthropic.model",
        body=json.dumps({"max_tokens": 100_000, "messages": [{"role": "user", "content": "Go."}]}),
    )
    for event in answer["body"]:
        chunk = json.loads(event["chunk"]["bytes"])
        if chunk["type"] == "content_block_delta":
            yield chunk["delta"]["text"]


def _post(frame: dict[str, Any]) -> None:
    _connections.post_to_connection(ConnectionId="L0SM9cOFvHcCIhw=", Data=json.dumps(frame).encode())


def _publish(frame: dict[str, Any]) -> None:
    _topics.publish(
        TopicArn=os.environ["FRAMES_TOPIC"],
        MessageGroupId=frame["sessionId"],
        MessageDeduplicationId=f"{frame['sessionId']}-{frame['sequence']}",
        Message=json.dumps(frame),
    )


def _mutate(frame: dict[str, Any]) -> None:
    session = boto3.Session()
    body = json.dumps({"query": _MUTATION, "variables": frame})
    request = AWSRequest("POST", os.environ["GRAPHQL_ENDPOINT"], {"Content-Type": "application/json"}, body)
    SigV4Auth(session.get_credentials(), "appsync", _REGION).add_auth(request)
    with urllib3.PoolManager(ca_certs=os.environ["AWS_CA_BUNDLE"]) as http:
        http.request("POST", os.environ["GRAPHQL_ENDPOINT"], body=body, headers=dict(request.headers))


_SENDERS: dict[Sink, Callable[[dict[str, Any]], None]] = {"websocket": _post, "sns": _publish, "appsync": _mutate}


def stream(sink: Sink) -> None:
    """Stream one answer, a message a token."""
    send = _SENDERS[sink]
    session_id = str(uuid4())
    for sequence, token in enumerate(_tokens(), 1):
        send({"type": "token", "sessionId": session_id, "attempt": 1, "sequence": sequence, "token": token})


if __name__ == "__main__":
    serve(stream)
