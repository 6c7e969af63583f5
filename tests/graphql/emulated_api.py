"""The GraphQL API in MiniStack: the real schema and the real resolvers on a table like the template's."""

import base64
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from local.cloud.clients import AwsClients
from tests.fakes.table import table_definition
from tokenstream.sessions import Sessions

GRAPHQL = Path(__file__).parents[2] / "graphql"
RUNTIME = {"name": "APPSYNC_JS", "runtimeVersion": "1.0.0"}
USER = "0f8a6c1e-3b52-4c7e-9a55-3f1d2b7c8e90"
STRANGER = "5d2e9f47-1c06-4a8b-b0c3-7e6f5a4d3c2b"
TTL = 3600

# Stands in for appsync_start: says what it was given, or fails as the prompt wants it.
_START_FUNCTION = """
import json

def handler(event, context):
    order = json.loads(event["arguments"]["prompt"])
    if "raise" in order:
        raise RuntimeError(order["raise"])
    return {"error": order["error"]} if "error" in order else {"sessionId": "it", "status": json.dumps(event)}
"""


def token(sub: str, token_use: str = "id") -> str:  # noqa: S107 - not a secret
    """Make a token that MiniStack, which looks at no signature, takes for this user's."""
    claims = {"sub": sub, "token_use": token_use, "cognito:username": sub}
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, claims, {})]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def signed(region: str) -> str:
    """Give what the functions' requests are authorized with."""
    return (
        f"AWS4-HMAC-SHA256 Credential=test/20260101/{region}/appsync/aws4_request, SignedHeaders=host, Signature=0000"
    )


class EmulatedApi:
    """One API with its table. Answers are GraphQL's documents."""

    def __init__(self, aws: AwsClients) -> None:
        self.aws = aws
        self.region = aws.region
        self.table = f"sessions-{uuid4()}"
        self._create_table()
        self._appsync = self.aws("appsync")
        self._id: str = self._create_api()
        self._http = httpx.Client(base_url=aws.endpoint, timeout=120)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def sessions(self, *, store_answers: bool = True) -> Sessions:
        """Give the table as the functions see it."""
        return Sessions(self.aws("dynamodb"), self.table, ttl=TTL, store_answers=store_answers)

    def ask(
        self, query: str, variables: Mapping[str, Any] | None = None, authorization: str | None = None
    ) -> dict[str, Any]:
        """Run an operation, as `USER` or with this Authorization header."""
        answer = self._http.post(
            f"/v1/apis/{self._id}/graphql",
            json={"query": query, "variables": variables or {}},
            headers={"Authorization": authorization or token(USER)},
        )
        document: dict[str, Any] = answer.raise_for_status().json()
        return document

    def _create_table(self) -> None:
        self.aws("dynamodb").create_table(TableName=self.table, **table_definition())

    def _create_api(self) -> str:
        create = self._appsync
        api_id: str = create.create_graphql_api(
            name="tokenstream",
            authenticationType="AMAZON_COGNITO_USER_POOLS",
            userPoolConfig={"userPoolId": "us-east-1_none", "awsRegion": self.region, "defaultAction": "ALLOW"},
            additionalAuthenticationProviders=[{"authenticationType": "AWS_IAM"}],
        )["graphqlApi"]["apiId"]
        create.start_schema_creation(apiId=api_id, definition=(GRAPHQL / "schema.graphql").read_bytes())
        table = {"tableName": self.table, "awsRegion": self.region}
        create.create_data_source(apiId=api_id, name="None", type="NONE")
        create.create_data_source(apiId=api_id, name="Sessions", type="AMAZON_DYNAMODB", dynamodbConfig=table)
        create.create_data_source(
            apiId=api_id,
            name="Start",
            type="AWS_LAMBDA",
            lambdaConfig={"lambdaFunctionArn": self._create_start_function()},
        )
        self._resolver(api_id, "Mutation", "startStream", "Start")
        self._resolver(api_id, "Mutation", "cancelStream", "Sessions")
        self._resolver(api_id, "Mutation", "publishToken", "None")
        functions = [
            create.create_function(
                apiId=api_id, name=name, dataSourceName="Sessions", runtime=RUNTIME, code=resolver_code(name)
            )["functionConfiguration"]["functionId"]
            for name in ("getStreamRecord", "getStreamHolding", "getStreamFollowing")
        ]
        create.create_resolver(
            apiId=api_id,
            typeName="Query",
            fieldName="getStream",
            kind="PIPELINE",
            pipelineConfig={"functions": functions},
            runtime=RUNTIME,
            code=resolver_code("getStream"),
        )
        return api_id

    def _resolver(self, api_id: str, type_name: str, field: str, data_source: str) -> None:
        self._appsync.create_resolver(
            apiId=api_id,
            typeName=type_name,
            fieldName=field,
            dataSourceName=data_source,
            runtime=RUNTIME,
            code=resolver_code(field),
        )

    def _create_start_function(self) -> str:
        arn: str = self.aws("lambda").create_function(
            FunctionName=f"start-{uuid4()}",
            Runtime="python3.13",
            Role="arn:aws:iam::000000000000:role/start",
            Handler="app.handler",
            Code={"ZipFile": zipped(_START_FUNCTION)},
        )["FunctionArn"]
        return arn


def zipped(app: str) -> bytes:
    """Pack a function of one file, `app.py`."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("app.py", app)
    return archive.getvalue()


def resolver_code(name: str) -> str:
    """Read a resolver or a function of a pipeline."""
    return (GRAPHQL / "resolvers" / f"{name}.js").read_text(encoding="utf-8")


def only_error(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a client is told by an answer's only error."""
    (error,) = answer["errors"]
    return {name: error.get(name) for name in ("errorType", "message", "data", "errorInfo")}
