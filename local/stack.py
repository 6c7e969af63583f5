"""The local stack as a whole: what is started in which order, and ended in the reverse of it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, assert_never

from local.checkout import Checkout
from local.cloud.clients import AwsClients
from local.cloud.deploy import STREAMING_FUNCTION, create_artifacts_bucket, read_functions
from local.cloud.deployed_stack import DeployedStack
from local.cloud.emulator_gaps import close_gaps
from local.cloud.environment import emulated_services, real_bedrock
from local.cloud.execute_api import api_and_stage, emulated_address
from local.cloud.forwarding import forward
from local.cloud.ministack import MiniStack, ministack
from local.cloud.sam import STACK_NAME, Sam
from local.cloud.users import OTHER_USERNAMES, USERNAME, User, create_user
from local.edge.appsync import AppSyncFront
from local.edge.appsync_api import DUMMY_KEYS, read_appsync_api
from local.edge.cuts import Cuts
from local.edge.direct_faults import DirectFaults
from local.edge.direct_ways import DirectWays, sends_over_appsync, sends_over_websocket
from local.edge.rest import RestApi
from local.edge.rest_routes import read_rest_stage
from local.edge.server import Edge
from local.edge.tls import RunCertificate
from local.edge.url import MOUNT as URL_MOUNT
from local.edge.url import FunctionUrl
from local.edge.web import WebClient
from local.edge.websocket import WebSocketFront
from local.edge.websocket_clients import WebSocketClients
from local.edge.websocket_routes import WebSocketRoutes
from local.edge.websocket_stage import read_websocket_stage
from local.endpoints import Endpoints, GraphQLEndpoints, published
from local.errors import StackError
from local.functions.config import FunctionConfig
from local.functions.failure_record import with_failure_records
from local.functions.invoke_api import InvokeApi
from local.functions.lambda_service import LambdaService
from local.functions.logs import FunctionLogs
from local.functions.reload import Reloader
from local.model.bedrock import PacedBedrock
from local.model.openai import OpenAiModel
from local.model.paced import PacedModel
from local.options import OpenAiCompatible, Options, Paced, RealBedrock
from local.terminal import Terminal


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A stack that serves requests."""

    endpoints: Endpoints
    ministack: MiniStack

    async def failure(self) -> None:
        """Wait for as long as everything is well, then raise `StackError`."""
        await self.ministack.ended()
        raise StackError("MiniStack has ended by itself.", self.ministack.last_words())


@asynccontextmanager
async def local_stack(
    checkout: Checkout, options: Options, terminal: Terminal, region: str, user_aws: Mapping[str, str]
) -> AsyncIterator[RunningStack]:
    """Run it; raises `StackError` when it can't start. `user_aws` are the user's own AWS settings, for real Bedrock."""
    async with AsyncExitStack() as running:
        sam = Sam(checkout)
        build = await running.enter_async_context(_in_background(sam.build()))
        with terminal.step("starting MiniStack"):
            emulator = await running.enter_async_context(ministack(checkout, region, options.ministack_port))
            aws = AwsClients(emulator.endpoint, region)
        with terminal.step("building the layer and the functions"):
            await asyncio.to_thread(create_artifacts_bucket, aws)
            await build
        with terminal.step("deploying template.yaml"):
            await sam.deploy(emulator.endpoint, _parameters(options))
            stack = await asyncio.to_thread(DeployedStack.read, aws, STACK_NAME)
            await asyncio.to_thread(close_gaps, aws, stack)
        assembly = _Assembly(running, checkout, options, terminal, aws, stack)
        with terminal.step("starting model, functions and edge"):
            bedrock_url = await assembly.start_bedrock()
            services = (
                emulated_services(emulator.endpoint, bedrock_url, region)
                if bedrock_url
                else real_bedrock(emulator.endpoint, user_aws, str(Path.home()), region)
            )
            deployed = await asyncio.to_thread(read_functions, aws, stack, checkout)
            service = assembly.start_service(deployed)
            faults = _direct_faults(deployed)
            edge = await assembly.start_edge(service, faults)
            clients = WebSocketClients()
            direct_ways = await assembly.start_direct_ways(edge.appsync, clients, faults)
            functions = {
                logical_id: function.with_environment(
                    {**services, **direct_ways.variables(function.code.name, function.environment)}
                )
                for logical_id, function in deployed.items()
            }
            await assembly.deploy(service, functions)
            routes = await assembly.take_over(service, functions)
            websocket_url = await assembly.start_websocket(routes, clients, edge.cuts)
            page = await assembly.start_web_client()
        with terminal.step("creating users"):
            user, *others = await asyncio.to_thread(_create_users, aws, stack.output("UserPoolId"))
        endpoints = Endpoints(
            web_url=page.url if page else None,
            function_url=edge.function_url,
            rest_url=edge.rest_url,
            websocket_url=websocket_url,
            graphql=edge.graphql,
            aws_endpoint_url=emulator.endpoint,
            bedrock_url=bedrock_url,
            region=region,
            user_pool_id=stack.output("UserPoolId"),
            user_pool_client_id=stack.output("UserPoolClientId"),
            user=user,
            other_users=others,
            stack_name=stack.name,
        )
        if page:
            page.client.configure(endpoints.to_json())
        running.enter_context(published(endpoints, checkout.endpoints))
        yield RunningStack(endpoints, emulator)


@dataclass(frozen=True, slots=True)
class _HttpFronts:
    """Where they are, who answers for AppSync, and who cuts their clients' connections."""

    function_url: str
    rest_url: str
    graphql: GraphQLEndpoints
    appsync: AppSyncFront
    cuts: Cuts


@dataclass(frozen=True, slots=True)
class _Page:
    """The web client, and where it is."""

    client: WebClient
    url: str


@dataclass(frozen=True, slots=True)
class _Assembly:
    """Starts what serves requests, and leaves its end to `running`."""

    running: AsyncExitStack
    checkout: Checkout
    options: Options
    terminal: Terminal
    aws: AwsClients
    stack: DeployedStack

    async def start_bedrock(self) -> str | None:
        """Start it and give its address; None when the model is AWS's."""
        match self.options.model:
            case RealBedrock():
                return None
            case Paced(pace, length):
                bedrock = PacedBedrock(PacedModel(pace, length, self._rejected))
            case OpenAiCompatible(model, base_url, api_key_variable):
                bedrock = PacedBedrock(OpenAiModel(model, base_url, api_key_variable))
            case other:
                assert_never(other)
        self.running.push_async_callback(bedrock.close)
        return await bedrock.start(self.options.bedrock_port or 0)

    def _rejected(self, reason: str) -> None:
        self.terminal.warn(f"model: rejected a request: {reason}")

    def start_service(self, functions: Mapping[str, FunctionConfig]) -> LambdaService:
        """Make what runs these functions, once they are deployed to it."""
        names = {function.name: function.code.name for function in functions.values()}
        logs = FunctionLogs(self.checkout.logs, self.terminal, names)
        self.running.callback(logs.close)
        service = LambdaService(logs.write)
        self.running.push_async_callback(service.close)
        return service

    async def deploy(self, service: LambdaService, functions: Mapping[str, FunctionConfig]) -> None:
        """Deploy the functions, and whichever changes, anew."""
        for function in functions.values():
            service.deploy(function)
        reloader = Reloader(self.checkout, functions.values(), service.deploy, self.terminal.say)
        await self.running.enter_async_context(_in_background(reloader.run()))

    async def take_over(self, service: LambdaService, functions: Mapping[str, FunctionConfig]) -> WebSocketRoutes:
        """Have the emulator's invocations run in the service; gives the part of them that is the WebSocket API's."""
        routes = WebSocketRoutes(
            with_failure_records(service.call, lambda: datetime.now(UTC)),
            lambda line: self.terminal.warn(f"websocket: {line}"),
        )
        api = InvokeApi(routes.invoke)
        self.running.push_async_callback(api.close)
        target = await api.start()
        # The edge itself invokes the streaming function.
        invoked = [function for logical_id, function in functions.items() if logical_id != STREAMING_FUNCTION]
        await asyncio.to_thread(forward, self.aws, invoked, target)
        return routes

    async def start_edge(self, service: LambdaService, faults: DirectFaults) -> _HttpFronts:
        """Put the function URL and the REST API in front of the streaming function, and AppSync's front beside them."""
        function = self.stack.physical_ids[STREAMING_FUNCTION]
        url_config = await asyncio.to_thread(self.aws("lambda").get_function_url_config, FunctionName=function)
        api_id, stage_name = api_and_stage(self.stack.output("RestUrl"))
        stage = await asyncio.to_thread(read_rest_stage, self.aws, api_id, stage_name)
        edge = Edge(self.terminal.note, faults)
        self.running.push_async_callback(edge.close)
        rest_api = RestApi(service, stage, edge.cuts)
        graphql_api = next(self.stack.resources("AWS::AppSync::GraphQLApi")).physical_id
        keys = None if isinstance(self.options.model, RealBedrock) else DUMMY_KEYS
        api, callers = await asyncio.to_thread(read_appsync_api, self.aws, graphql_api, keys)
        appsync = AppSyncFront(api, callers, self.aws.endpoint, edge.cuts, log=self.terminal.note)
        url = FunctionUrl(service, function, url_config, edge.cuts)
        address = await edge.start(url, rest_api, appsync, self.options.port or 0)
        certificate = await asyncio.to_thread(RunCertificate)
        with_tls = await edge.listen_with_tls(certificate.server_context())
        ca_file = self.checkout.certificate_authority
        self.running.enter_context(certificate.published(ca_file))
        graphql = GraphQLEndpoints(address, with_tls, ca_file)
        return _HttpFronts(f"{address}{URL_MOUNT}", f"{address}{rest_api.mount}", graphql, appsync, edge.cuts)

    async def start_direct_ways(
        self, appsync: AppSyncFront, clients: WebSocketClients, faults: DirectFaults
    ) -> DirectWays:
        """Serve what functions send to clients by."""
        address = self.stack.output("WebSocketUrl")
        _, stage = api_and_stage(address)
        ways = DirectWays(stage, emulated_address(self.aws.endpoint, address), clients, appsync.post, faults)
        self.running.push_async_callback(ways.close)
        await ways.start()
        return ways

    async def start_websocket(self, routes: WebSocketRoutes, clients: WebSocketClients, cuts: Cuts) -> str:
        """Put the WebSocket front before the emulator's WebSocket API; gives its address."""
        stage = await asyncio.to_thread(read_websocket_stage, self.aws, self.stack.output("WebSocketUrl"))
        front = WebSocketFront(stage, routes, cuts, self.terminal.note, clients=clients)
        self.running.push_async_callback(front.close)
        return await front.start(self.options.websocket_port or 0)

    async def start_web_client(self) -> _Page | None:
        """Serve the web client; None where it isn't built."""
        if not (self.checkout.web_client / "index.html").exists():
            return None
        client = WebClient(self.checkout.web_client, self.terminal.note)
        self.running.push_async_callback(client.close)
        return _Page(client, await client.start(self.options.web_port or 0))


def _parameters(options: Options) -> dict[str, str]:
    return {
        "LogLevel": options.log_level,
        "PasswordSignIn": "true",
        # Each of these at once is a process here.
        "DeliverConcurrency": "8",
        **options.parameters,
    }


def _direct_faults(functions: Mapping[str, FunctionConfig]) -> DirectFaults:
    deployed = functions.values()
    return DirectFaults(
        {
            "websocket": {function.code.name for function in deployed if sends_over_websocket(function.environment)},
            "appsync": {function.code.name for function in deployed if sends_over_appsync(function.environment)},
        }
    )


def _create_users(aws: AwsClients, pool: str) -> list[User]:
    return [create_user(aws, pool, username) for username in (USERNAME, *OTHER_USERNAMES)]


@asynccontextmanager
async def _in_background(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run it until the end of the context at most."""
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
