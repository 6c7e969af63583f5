"""The parts of the local stack that need no running one."""

import fcntl
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local import deployed_endpoints
from local.checkout import Checkout
from local.cloud.build_stamp import is_built, set_built, sources_digest
from local.cloud.deployed_stack import DeployedStack
from local.cloud.emulator_gaps import close_gaps
from local.cloud.environment import connections_endpoint, emulated_services, isolate, real_bedrock, require_credentials
from local.cloud.users import User
from local.endpoints import Endpoints, GraphQLEndpoints, published
from local.errors import StackError
from local.functions.config import FunctionConfig
from local.functions.logs import FunctionLogs
from local.functions.reload import Reloader
from local.options import OpenAiCompatible, Paced, RealBedrock, parse_options
from local.run_lock import run_lock
from local.terminal import Terminal
from tests.local.stack_process import alive, eventually


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    checkout = Checkout(tmp_path)
    for folder in (checkout.functions / "http_stream", checkout.layer / "tokenstream", checkout.sam / "build"):
        folder.mkdir(parents=True)
    for file in (checkout.template, checkout.functions / "http_stream" / "app.py", checkout.layer / "Makefile"):
        file.write_text("first = 1\n")
    return checkout


# -- the command line


def test_without_options_the_model_is_paced_and_every_port_free() -> None:
    options = parse_options([], {})
    assert isinstance(options.model, Paced)
    ports = (options.port, options.websocket_port, options.bedrock_port, options.ministack_port)
    assert ports == (None, None, None, None)


def test_the_environment_chooses_a_model_and_the_command_line_another() -> None:
    environment = {"MODEL": "ollama", "OPENAI_API_KEY": "secret"}
    assert isinstance(parse_options([], environment).model, OpenAiCompatible)
    assert isinstance(parse_options(["--model", "bedrock"], environment).model, RealBedrock)
    given = ["--model", "openai:http://127.0.0.1:8000", "--model-name", "small"]
    assert parse_options(given, environment).model == OpenAiCompatible(
        "small", "http://127.0.0.1:8000", "OPENAI_API_KEY"
    )


def test_parameters_of_the_template_can_be_given_whatever_is_in_their_values() -> None:
    given = parse_options(["--parameter", "DirectSend=false", "--parameter", "FallbackModel=a.b:c=d"], {})
    assert given.parameters == {"DirectSend": "false", "FallbackModel": "a.b:c=d"}
    assert parse_options([], {}).parameters == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "gpt"],
        ["--model", "openai:ftp://x", "--model-name", "m"],
        ["--model", "openai:http://x"],
        ["--rate", "0"],
        ["--ttft", "-1"],
        ["--tokens", "0"],
        ["--port", "70000"],
        ["--websocket-port", "0"],
        ["--log-level", "LOUD"],
        ["--parameter", "DirectSend"],
        ["--parameter", "=false"],
    ],
)
def test_a_mistake_on_the_command_line_is_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_options(arguments, {})
    assert arguments[0] in capsys.readouterr().err


# -- AWS settings


def test_nothing_of_the_users_aws_settings_stays_in_the_environment() -> None:
    users = {"AWS_PROFILE": "prod", "AWS_SECRET_ACCESS_KEY": "real", "AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL": "x"}
    environment = {**users, "HOME": "/home/user", "NO_PROXY": "intranet"}
    assert isolate(environment) == users
    assert "real" not in environment.values()
    assert not {"AWS_PROFILE", "AWS_ENDPOINT_URL"} & set(environment)
    assert (environment["AWS_REGION"], environment["AWS_CONFIG_FILE"]) == ("eu-west-1", os.devnull)
    assert environment["NO_PROXY"] == "intranet,127.0.0.1,localhost"


@pytest.fixture
def _no_aws_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("_no_aws_settings")
def test_real_bedrock_without_credentials_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StackError, match="no AWS credentials"):
        require_credentials()
    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(StackError, match="missing"):
        require_credentials()
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert require_credentials() == "eu-west-1"


@pytest.mark.usefixtures("_no_aws_settings")
def test_what_is_missing_to_read_a_stack_on_aws_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "endpoints.json"
    assert deployed_endpoints.main(["tokenstream-dev", str(file)]) == 1
    assert "Set AWS_REGION, or give --region" in capsys.readouterr().err
    assert deployed_endpoints.main(["tokenstream-dev", str(file), "--region", "eu-west-1"]) == 1
    assert "set AWS_PROFILE" in capsys.readouterr().err
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert deployed_endpoints.main(["tokenstream-dev", str(file)]) == 1
    assert "set AWS_PROFILE" in capsys.readouterr().err
    assert not file.exists()


def test_with_real_bedrock_everything_else_stays_on_this_machine() -> None:
    users = {"AWS_PROFILE": "me", "AWS_ENDPOINT_URL": "http://elsewhere"}
    environment = real_bedrock("http://emulator", users, "/home/user", "us-west-2")
    assert environment["AWS_PROFILE"] == "me"
    assert environment["AWS_ENDPOINT_URL_DYNAMODB"] == "http://emulator"
    for service in ("COGNITO_IDENTITY_PROVIDER", "SNS", "SQS", "SFN"):
        assert environment[f"AWS_ENDPOINT_URL_{service}"] == "http://emulator"
    assert not {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"} & set(environment)


def test_without_it_no_service_is_left_out() -> None:
    environment = emulated_services("http://emulator", "http://model", "us-east-1")
    assert environment["AWS_ENDPOINT_URL"] == "http://emulator"
    assert environment["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] == "http://model"
    assert environment["AWS_ACCESS_KEY_ID"] == "test"


def test_frames_go_to_the_emulators_connections_and_not_to_aws() -> None:
    address = "wss://abc123.execute-api.us-east-1.amazonaws.com/dev"
    assert connections_endpoint("http://127.0.0.1:4566", address) == {
        "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI": "http://127.0.0.1:4566/_aws/execute-api/abc123/dev"
    }


# -- lock, tether, endpoints


def test_the_lock_names_its_holder_and_a_stale_file_locks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    path.write_text("99999999\n")
    with run_lock(path):
        assert path.read_text() == f"{os.getpid()}\n"
        with pytest.raises(StackError, match=f"process {os.getpid()}"), run_lock(path):
            pytest.fail("it was held")
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _tethered(grace: str, script: str) -> subprocess.Popen[bytes]:
    tether = Path(__file__).parents[2] / "local" / "tether.py"
    command = [sys.executable, str(tether), grace, "sh", "-c", script]
    return subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 the test's own


def test_what_is_tethered_ends_with_its_starter_children_included(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    # It ignores the polite signal, and so does its child.
    stubborn = f"trap '' TERM; sleep 60 & echo $$ $! > {pids}; wait; sleep 60"
    process = _tethered("0.2", stubborn)
    eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    process.send_signal(signal.SIGTERM)
    assert process.stdin
    process.stdin.close()
    assert process.wait(10) == 128 + signal.SIGKILL
    eventually(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


def test_a_tethered_command_passes_its_exit_status_on() -> None:
    with _tethered("1", "exit 7") as process:
        assert process.wait(10) == 7


def _endpoints(bedrock: str | None, web: str | None = None) -> Endpoints:
    return Endpoints(
        web_url=web,
        function_url="http://e/url",
        rest_url="http://e/rest/dev",
        websocket_url="ws://w/dev",
        graphql=GraphQLEndpoints("http://e", "https://e", Path("ca.pem")),
        aws_endpoint_url="http://a",
        bedrock_url=bedrock,
        region="us-east-1",
        user_pool_id="pool",
        user_pool_client_id="client",
        user=User("demo", "secret"),
        other_users=[User("other", "secret2")],
        stack_name="tokenstream",
    )


def test_the_endpoints_are_there_for_their_owner_and_only_while_the_stack_runs(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    with published(_endpoints("http://b"), path):
        assert path.stat().st_mode & 0o777 == 0o600
        content = json.loads(path.read_text())
        assert content["otherUsers"] == [{"username": "other", "password": "secret2"}]
        assert content["bedrockUrl"] == "http://b"
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_bedrock_address_when_the_model_is_awss() -> None:
    assert "bedrockUrl" not in _endpoints(None).to_json()


def test_there_is_no_web_address_where_the_page_is_not_built() -> None:
    assert "webUrl" not in _endpoints(None).to_json()
    assert _endpoints(None, "http://p").to_json()["webUrl"] == "http://p"


# -- building and reloading


def test_a_build_counts_until_a_source_changes(checkout: Checkout) -> None:
    digest = sources_digest(checkout)
    assert not is_built(checkout, digest)
    checkout.built_template.touch()
    set_built(checkout, digest)
    cache = checkout.layer / "tokenstream" / "__pycache__"
    cache.mkdir()
    (cache / "frames.pyc").touch()
    assert is_built(checkout, sources_digest(checkout))
    (checkout.layer / "Makefile").write_text("changed")
    assert not is_built(checkout, sources_digest(checkout))
    set_built(checkout, None)
    assert not is_built(checkout, digest)


class _Reloads:
    def __init__(self, checkout: Checkout, *functions: str) -> None:
        self.deployed: list[str] = []
        self.said: list[str] = []
        configs = [
            FunctionConfig(name, "app.handler", checkout.functions / name, checkout.layer, {}, timeout=1)
            for name in functions or ("http_stream",)
        ]
        self._reloader = Reloader(checkout, configs, self._deploy, self.said.append)

    def _deploy(self, config: FunctionConfig) -> None:
        self.deployed.append(config.name)

    def change(self, *paths: Path) -> None:
        self._reloader.changed(paths)


def test_an_edited_source_is_deployed_anew_and_a_mistake_is_not(checkout: Checkout) -> None:
    reloads = _Reloads(checkout)
    app = checkout.functions / "http_stream" / "app.py"
    reloads.change(app)
    assert reloads.deployed == ["http_stream"]
    assert reloads.said == ["deployed anew: functions/http_stream/app.py changed"]
    app.write_text("def handler(:\n")
    reloads.change(app)
    assert len(reloads.deployed) == 1
    assert "app.py, line 1" in reloads.said[1]
    app.unlink()
    reloads.change(app)
    assert len(reloads.deployed) == 2


def test_an_edit_counts_for_its_own_function_and_one_of_the_layer_for_all(checkout: Checkout) -> None:
    reloads = _Reloads(checkout, "http_stream", "ws_message", "ws_stream")
    message = checkout.functions / "ws_message" / "messages.py"
    reloads.change(message)
    assert reloads.deployed == ["ws_message"]
    reloads.change(checkout.layer / "tokenstream" / "frames.py", message)
    assert reloads.deployed[1:] == ["http_stream", "ws_message", "ws_stream"]


def test_an_edit_of_a_function_that_is_not_deployed_is_no_news(checkout: Checkout) -> None:
    reloads = _Reloads(checkout)
    hello = checkout.functions / "hello" / "app.py"
    hello.parent.mkdir()
    hello.write_text("def handler(:\n")
    reloads.change(hello)
    assert (reloads.deployed, reloads.said) == ([], [])


def test_what_only_a_build_puts_to_work_says_so(checkout: Checkout) -> None:
    reloads = _Reloads(checkout)
    definition = checkout.state_machines / "recovery.asl.yaml"
    bootstrap = checkout.layer / "streaming-bootstrap"
    reloads.change(checkout.template, definition, bootstrap, checkout.layer / "notes.txt")
    assert reloads.deployed == []
    assert reloads.said == [
        "layers/tokenstream/streaming-bootstrap, statemachine/recovery.asl.yaml, template.yaml changed: "
        "start the stack again to deploy that"
    ]


# -- the terminal


def test_steps_and_lines_in_between_stay_readable() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream)
    with terminal.step("building"):
        pass
    with pytest.raises(StackError), terminal.step("deploying"):  # noqa: PT012 the note is part of the step
        terminal.note("in between")
        raise StackError("no")
    built, *lines = stream.getvalue().splitlines()
    assert re.fullmatch(r"building … \d+\.\d s", built)
    assert lines == ["deploying … ", "in between", "deploying: failed"]


def test_quiet_leaves_what_has_to_be_seen() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream, quiet=True)
    with terminal.step("building"):
        terminal.note("a request")
        terminal.function_line("http_stream", "a line")
    terminal.say("ready")
    assert stream.getvalue() == "ready\n"


def test_a_functions_records_are_short_on_the_terminal_and_whole_in_its_file(tmp_path: Path) -> None:
    stream = io.StringIO()
    logs = FunctionLogs(tmp_path, Terminal(stream), {"stack-Function-1": "http_stream"})
    lines = [
        '{"level":"INFO","message":"stream ended","timestamp":"now","session_id":"s","function_name":"f"}',
        '{"level":"ERROR","message":"failed","exception":"Traceback\\nValueError"}',
        '{"_aws":{"Timestamp":1},"CompletedStreams":[1.0]}',
        "plain text {",
        '{"other": "json"}',
    ]
    for line in lines:
        logs.write("stack-Function-1", line)
    logs.close()
    assert (tmp_path / "http_stream.log").read_text().splitlines() == lines
    assert stream.getvalue().splitlines() == [
        "http_stream INFO stream ended session_id=s",
        "http_stream ERROR failed ",
        "Traceback",
        "ValueError",
        "http_stream plain text {",
        'http_stream {"other": "json"}',
    ]


# -- what the emulator drops


class _Forgetful:
    """An emulator that takes every setting and keeps none."""

    def __getattr__(self, operation: str) -> Any:
        return lambda **_arguments: {
            "describe_time_to_live": {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}},
            "describe_table": {"Table": {}},
            "get_topic_attributes": {"Attributes": {}},
            "get_gateway_response": {"responseType": "UNAUTHORIZED"},
            "get_resources": {"items": [{"path": "/", "id": "root"}]},
            "get_integration": {"timeoutInMillis": 29000},
            "get_function_url_config": {"InvokeMode": "BUFFERED"},
            "describe_user_pool_client": {"UserPoolClient": {}},
            **{name: {"Items": []} for name in ("get_routes", "get_integrations", "get_authorizers")},
            "get_api": {"RouteSelectionExpression": "$request.body.action"},
        }.get(operation, {})


def _arn_of(function: str) -> dict[str, Any]:
    return {"Fn::Sub": ["${Arn}/invocations", {"Arn": {"Fn::GetAtt": [function, "Arn"]}}]}


_WEBSOCKET = {"Type": "AWS::ApiGatewayV2::Api", "Properties": {"RouteSelectionExpression": "$request.body.action"}}
_TARGET = {"Fn::Join": ["/", ["integrations", {"Ref": "Integration"}]]}
_INVOKE_CONFIG = {"FunctionName": "f", "Qualifier": "$LATEST"}
_DESTINATION = {"OnFailure": {"Destination": {"Fn::GetAtt": ["Function", "Arn"]}}}
_INTEGRATION = {"timeoutInMillis": {"Ref": "Limit"}}
_API = {"paths": {"/": {"post": {"x-amazon-apigateway-integration": _INTEGRATION}}}}


@pytest.mark.parametrize(
    ("type_", "properties", "named"),
    [
        (
            "AWS::DynamoDB::Table",
            {"TimeToLiveSpecification": {"AttributeName": "expiresAt", "Enabled": True}},
            "time to live of Resource",
        ),
        ("AWS::DynamoDB::Table", {"GlobalSecondaryIndexes": [{"IndexName": "open"}]}, "indexes of Resource"),
        ("AWS::SNS::Topic", {"FifoTopic": True}, "FifoTopic of Resource: .*'true'"),
        (
            "AWS::ApiGateway::RestApi",
            {"Body": {"paths": {}, "x-amazon-apigateway-gateway-responses": {"UNAUTHORIZED": {"statusCode": 401}}}},
            "gateway response UNAUTHORIZED",
        ),
        ("AWS::ApiGateway::RestApi", {"Body": _API}, "time-out of POST /"),
        ("AWS::Lambda::Url", {"InvokeMode": "RESPONSE_STREAM"}, "invoke mode"),
        ("AWS::Cognito::UserPoolClient", {"UserPoolId": "p", "IdTokenValidity": 60}, "IdTokenValidity"),
        (
            "AWS::ApiGatewayV2::Stage",
            {"ApiId": {"Ref": "Api"}, "DefaultRouteSettings": {"ThrottlingRateLimit": 200}},
            "ThrottlingRateLimit",
        ),
        ("AWS::ApiGatewayV2::Api", {"RouteSelectionExpression": "$request.body.type"}, "RouteSelectionExpression"),
        ("AWS::ApiGatewayV2::Route", {"RouteKey": "$connect", "AuthorizationType": "CUSTOM"}, "AuthorizationType"),
        (
            "AWS::ApiGatewayV2::Route",
            {"RouteKey": "ping", "Target": _TARGET},
            "Target of Resource: .*integrations/i123",
        ),
        ("AWS::ApiGatewayV2::Integration", {"IntegrationUri": _arn_of("Function")}, "function of Resource: .*'f123'"),
        (
            "AWS::ApiGatewayV2::Authorizer",
            {"AuthorizerType": "REQUEST", "IdentitySource": ["route.request.header.Host"]},
            "AuthorizerType",
        ),
        ("AWS::Lambda::EventInvokeConfig", {**_INVOKE_CONFIG, "MaximumRetryAttempts": 0}, "MaximumRetryAttempts"),
        ("AWS::Lambda::EventInvokeConfig", {**_INVOKE_CONFIG, "DestinationConfig": _DESTINATION}, "destination"),
    ],
)
def test_what_the_emulator_does_not_keep_ends_the_start(type_: str, properties: dict[str, Any], named: str) -> None:
    resources = {"Api": _WEBSOCKET, "Resource": {"Type": type_, "Properties": properties}}
    stack = _stack(resources, Limit="900000")
    with pytest.raises(StackError, match=f"did not keep .*{named}"):
        close_gaps(lambda _service: _Forgetful(), stack)  # type: ignore[arg-type]  # a fake


def test_a_value_that_cannot_be_resolved_is_named() -> None:
    stack = _stack({}, Stage="dev")
    assert stack.resolve({"a": [{"Ref": "Stage"}, {"Ref": "Resource"}]}) == {"a": ["dev", "physical"]}
    assert stack.resolve(_TARGET) == "integrations/i123"
    for value in ({"Ref": "Nothing"}, {"Fn::Sub": "${Stage}"}):
        with pytest.raises(StackError, match=r"Nothing|Fn::Sub"):
            stack.resolve(value)
    with pytest.raises(StackError, match="no output RestUrl"):
        stack.output("RestUrl")


def _stack(resources: dict[str, Any], **parameters: str) -> DeployedStack:
    return DeployedStack(
        name="tokenstream",
        outputs={},
        template={"Resources": resources},
        parameters=parameters,
        physical_ids={"Resource": "physical", "Api": "a123", "Function": "f123", "Integration": "i123"},
    )
