"""What MiniStack's AppSync lacks and the resolvers build on. `guarded_ministack` installs it in MiniStack's process.

- Its DynamoDB data source knows no query, no update expression and no condition. Here a resolver's request goes to
  MiniStack's own DynamoDB, over HTTP as anybody's, and the answer becomes what AppSync makes of it.
- AppSync parses an argument of type AWSJSON for the resolver, and writes such a result as JSON: MiniStack passes both
  as they are.
- An error's `errorInfo` gets lost.
- It parses and validates the document of each request anew, and of calls at the same time starts a Node process for
  each, to end all but two of them when they are through.

What is replaced is looked up by name, so that a MiniStack that has it elsewhere doesn't start. This file imports
nothing of the stack: it runs where only MiniStack is installed.
"""

import base64
import json
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from http.client import HTTPConnection
from threading import BoundedSemaphore
from typing import Any

_API = "DynamoDB_20120810"
_SECONDS = 25.0
_DOCUMENTS = 64
"""How many are kept; the functions' and the clients' own are a handful."""


class DataSourceFailed(Exception):
    """The data source refused or didn't answer; `type` is what a resolver finds in `ctx.error.type`."""

    def __init__(self, type_: str, message: str) -> None:
        super().__init__(message)
        self.type = type_


def run_request(request: Mapping[str, Any], table: str, call: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Any:
    """Do what a resolver asks of a table; `call` runs one of DynamoDB's operations. Raises `DataSourceFailed`."""
    match request:
        case {"operation": "GetItem", "key": key}:
            item = call("GetItem", {"TableName": table, "Key": key, "ConsistentRead": _consistent(request)}).get("Item")
            return None if item is None else _plain({"M": item})
        case {"operation": "UpdateItem", "key": key, "update": update}:
            condition = request.get("condition") or {}
            parameters = {
                "TableName": table,
                "Key": key,
                "UpdateExpression": update["expression"],
                "ConditionExpression": condition.get("expression"),
                "ExpressionAttributeNames": _joined("expressionNames", update, condition),
                "ExpressionAttributeValues": _joined("expressionValues", update, condition),
                "ReturnValues": "ALL_NEW",
            }
            return _plain({"M": call("UpdateItem", _given(parameters))["Attributes"]})
        case {"operation": "Query", "query": query}:
            parameters = {
                "TableName": table,
                "KeyConditionExpression": query["expression"],
                "ExpressionAttributeNames": _joined("expressionNames", query),
                "ExpressionAttributeValues": _joined("expressionValues", query),
                "ConsistentRead": _consistent(request),
                "ScanIndexForward": request.get("scanIndexForward", True),
                "Limit": request.get("limit"),
                "ExclusiveStartKey": _start_key(request.get("nextToken")),
            }
            page = call("Query", _given(parameters))
            return {
                "items": [_plain({"M": item}) for item in page["Items"]],
                "nextToken": _next_token(page.get("LastEvaluatedKey")),
                "scannedCount": page["ScannedCount"],
            }
    raise DataSourceFailed("NotImplemented", f"The local stack doesn't know the operation {request.get('operation')}.")


def _consistent(request: Mapping[str, Any]) -> bool:
    return bool(request.get("consistentRead", False))


def _joined(name: str, *expressions: Mapping[str, Any]) -> dict[str, Any] | None:
    joined: dict[str, Any] = {}
    for expression in expressions:
        joined |= expression.get(name) or {}
    return joined or None


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def _plain(value: Mapping[str, Any]) -> Any:
    """Turn an attribute's value into what a resolver finds."""
    match value:
        case {"S": text}:
            return text
        case {"N": number}:
            return json.loads(number)
        case {"BOOL": flag}:
            return flag
        case {"L": items}:
            return [_plain(item) for item in items]
        case {"M": items}:
            return {name: _plain(item) for name, item in items.items()}
    raise DataSourceFailed("NotImplemented", f"The local stack doesn't know DynamoDB's type {next(iter(value), None)}.")


def _next_token(key: Mapping[str, Any] | None) -> str | None:
    return None if key is None else base64.b64encode(json.dumps(key).encode()).decode()


def _start_key(token: str | None) -> dict[str, Any] | None:
    return None if token is None else json.loads(base64.b64decode(token))


def caller(port: int, region: str) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Give the way to run one of DynamoDB's operations in the MiniStack that listens on this port."""

    def call(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        connection = HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"{_API}.{operation}",
            # Any credentials do; the region is taken from here.
            "Authorization": f"AWS4-HMAC-SHA256 Credential=test/20260101/{region}/dynamodb/aws4_request, "
            "SignedHeaders=host, Signature=0",
        }
        try:
            connection.request("POST", "/", json.dumps(parameters), headers)
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        except (OSError, ValueError) as error:
            raise DataSourceFailed("DynamoDB:SdkClientException", str(error)) from error
        finally:
            connection.close()
        if response.status >= 400:  # noqa: PLR2004 - HTTP's errors begin here
            type_ = str(answer.get("__type", "")).rpartition("#")[2]
            raise DataSourceFailed(f"DynamoDB:{type_}", str(answer.get("message") or answer.get("Message")))
        return answer

    return call


def at_most(calls: int, call: Callable[..., Any]) -> Callable[..., Any]:
    """Let so many calls run at once and others wait. One must not lead to another."""
    places = BoundedSemaphore(calls)

    def called(*arguments: Any, **named: Any) -> Any:
        with places:
            return call(*arguments, **named)

    return called


def install() -> None:
    """Replace what is missing; raises where MiniStack is not as this module knows it."""
    from ministack.core import appsync_graphql, appsync_js, responses  # noqa: PLC0415 - there is no MiniStack where this is tested
    from ministack.services import appsync  # noqa: PLC0415

    port = int(os.environ["GATEWAY_PORT"])
    error_class = appsync._AppSyncResolverError  # noqa: SLF001
    build, describe = appsync_graphql.build_api_schema, appsync_graphql._as_appsync_errors  # noqa: SLF001

    def dynamodb(_api: str, data_source: Mapping[str, Any], request: Any, _context: Any) -> Any:
        config = data_source["dynamodbConfig"]
        region = config.get("awsRegion") or responses.get_region()
        try:
            return run_request(request, config["tableName"], caller(port, region))
        except DataSourceFailed as failure:
            raise error_class(str(failure), failure.type) from failure

    def build_api_schema(api_id: str, sdl: str) -> Any:
        schema = build(api_id, sdl)
        scalar = schema.type_map.get("AWSJSON")
        if scalar is not None:
            scalar.parse_value = json.loads
            scalar.serialize = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return schema

    def as_appsync_errors(errors: list[Any]) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = describe(errors)
        for entry, error in zip(entries, errors or [], strict=True):
            info = getattr(getattr(error, "original_error", None), "error_info", None)
            entry["data"] = entry.get("data")
            entry["errorInfo"] = info
        return entries

    if "AMAZON_DYNAMODB" not in appsync._DATA_SOURCE_HANDLERS:  # noqa: SLF001
        raise LookupError("MiniStack has no data source of this name any more.")
    appsync._DATA_SOURCE_HANDLERS["AMAZON_DYNAMODB"] = dynamodb  # noqa: SLF001
    appsync_graphql.build_api_schema = build_api_schema
    appsync_graphql._as_appsync_errors = as_appsync_errors  # noqa: SLF001
    appsync_graphql.parse = lru_cache(_DOCUMENTS)(appsync_graphql.parse)
    appsync_graphql.validate = lru_cache(_DOCUMENTS)(appsync_graphql.validate)
    # A resolver's code calls nothing: what it asks for is done between its two parts.
    pool = appsync_js._pool  # noqa: SLF001
    pool.call = at_most(os.cpu_count() or 1, pool.call)
