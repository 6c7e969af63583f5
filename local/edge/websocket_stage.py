"""A deployed WebSocket API's stage, as far as the edge has a part in it."""

from dataclasses import dataclass

from local.cloud.clients import AwsClients
from local.cloud.execute_api import api_and_stage, emulated_address
from local.edge.throttle import Throttle


@dataclass(frozen=True, slots=True)
class WebSocketStage:
    """One stage of one API; `emulator` is the address at which the emulator serves it."""

    name: str
    emulator: str
    throttle: Throttle | None


def read_websocket_stage(aws: AwsClients, url: str) -> WebSocketStage:
    """Read the stage that has this address on AWS. Blocks."""
    api_id, stage_name = api_and_stage(url)
    settings = aws("apigatewayv2").get_stage(ApiId=api_id, StageName=stage_name).get("DefaultRouteSettings", {})
    return WebSocketStage(
        name=stage_name,
        emulator=emulated_address(aws.endpoint.replace("http", "ws", 1), url),
        throttle=Throttle(settings["ThrottlingRateLimit"], settings["ThrottlingBurstLimit"])
        if "ThrottlingRateLimit" in settings
        else None,
    )
