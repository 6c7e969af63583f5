"""The local stack as a whole: what is started in which order, and ended in the reverse of it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from local.checkout import Checkout
from local.cloud.clients import AwsClients
from local.cloud.deploy import STREAMING_FUNCTION, create_artifacts_bucket, read_streaming_function
from local.cloud.deployed_stack import DeployedStack
from local.cloud.emulator_gaps import close_gaps
from local.cloud.environment import emulated_services, real_bedrock
from local.cloud.ministack import MiniStack, ministack
from local.cloud.sam import STACK_NAME, Sam
from local.cloud.users import OTHER_USERNAMES, USERNAME, User, create_user
from local.edge.rest import RestApi
from local.edge.rest_routes import read_rest_stage
from local.edge.server import Edge
from local.edge.url import MOUNT as URL_MOUNT
from local.edge.url import FunctionUrl
from local.endpoints import Endpoints, published
from local.errors import StackError
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
            parameters = {"LogLevel": options.log_level, "PasswordSignIn": "true"}
            await sam.deploy(emulator.endpoint, parameters)
            stack = await asyncio.to_thread(DeployedStack.read, aws, STACK_NAME)
            await asyncio.to_thread(close_gaps, aws, stack)
        assembly = _Assembly(running, checkout, options, terminal, aws, stack)
        with terminal.step("starting model, function and edge"):
            bedrock_url = await assembly.start_bedrock()
            added = (
                emulated_services(emulator.endpoint, bedrock_url, region)
                if bedrock_url
                else real_bedrock(emulator.endpoint, user_aws, str(Path.home()), region)
            )
            service = await assembly.start_function(added)
            function_url, rest_url = await assembly.start_edge(service)
        with terminal.step("creating users"):
            user, *others = await asyncio.to_thread(_create_users, aws, stack.output("UserPoolId"))
        endpoints = Endpoints(
            function_url=function_url,
            rest_url=rest_url,
            aws_endpoint_url=emulator.endpoint,
            bedrock_url=bedrock_url,
            region=region,
            user_pool_id=stack.output("UserPoolId"),
            user_pool_client_id=stack.output("UserPoolClientId"),
            user=user,
            other_users=others,
            stack_name=stack.name,
        )
        running.enter_context(published(endpoints, checkout.endpoints))
        yield RunningStack(endpoints, emulator)


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

    async def start_function(self, added: Mapping[str, str]) -> LambdaService:
        """Run the streaming function as deployed, with this added to its environment; reload it when it changes."""
        config = await asyncio.to_thread(read_streaming_function, self.aws, self.stack, self.checkout, added)
        logs = FunctionLogs(self.checkout.logs, self.terminal, {config.name: config.code.name})
        self.running.callback(logs.close)
        service = LambdaService(logs.write)
        self.running.push_async_callback(service.close)
        service.deploy(config)
        reloader = Reloader(self.checkout, config.code, lambda: service.deploy(config), self.terminal.say)
        await self.running.enter_async_context(_in_background(reloader.run()))
        return service

    async def start_edge(self, service: LambdaService) -> tuple[str, str]:
        """Put the function URL and the REST API in front of the function; gives their addresses."""
        function = self.stack.physical_ids[STREAMING_FUNCTION]
        url_config = await asyncio.to_thread(self.aws("lambda").get_function_url_config, FunctionName=function)
        api = next(self.stack.resources("AWS::ApiGateway::RestApi"))
        stage_name = self.stack.output("RestUrl").rpartition("/")[2]
        stage = await asyncio.to_thread(read_rest_stage, self.aws, api.physical_id, stage_name)
        edge = Edge(self.terminal.note)
        self.running.push_async_callback(edge.close)
        rest_api = RestApi(service, stage, edge.cuts)
        address = await edge.start(
            FunctionUrl(service, function, url_config, edge.cuts), rest_api, self.options.port or 0
        )
        return f"{address}{URL_MOUNT}", f"{address}{rest_api.mount}"


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
