"""What Bedrock's exceptions mean to a client.

Source: Amazon Bedrock API reference, errors of `InvokeModelWithResponseStream` and `ConverseStream`.
"""

import logging
from http import HTTPStatus

from tokenstream.errors import Internal, ModelAccess, ModelError, ModelTimeout, Throttled, TokenstreamError

_logger = logging.getLogger(__name__)


def failure(name: str, status: int | None = None) -> TokenstreamError:  # noqa: PLR0911 - a table with a message a row
    """Translate an exception by its name, as a header has it (`ThrottlingException:http…`) or an event.

    `status` is the HTTP status where the exception came as a response; it decides when the name says nothing.
    """
    name = name.partition(":")[0]
    match name[:1].upper() + name[1:]:
        case "ThrottlingException" | "ServiceQuotaExceededException":
            return Throttled("The model is throttled.", retryable=True)
        case "ModelNotReadyException" | "ServiceUnavailableException":
            return ModelError("The model is not available at the moment.", retryable=True)
        case "ModelTimeoutException":
            return ModelTimeout("The model took too long.", retryable=True)
        case "InternalServerException" | "ModelErrorException" | "ModelStreamErrorException":
            return ModelError("The model failed.", retryable=True)
        case "ValidationException":
            return ModelError(
                "The model rejected the request: it may be too long for this model or use an option that it lacks."
            )
        case "ResourceNotFoundException":
            return ModelError("There is no such model in this region.")
        case "AccessDeniedException":
            return ModelAccess(
                "This account has no access to the model. Grant it in the Amazon Bedrock console, under Model access, "
                "in the region of this stack, and check that the model is among the stack's AllowedModels."
            )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled("The model is throttled.", retryable=True)
    if status is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ModelError("The model is not available at the moment.", retryable=True)
    _logger.error("bedrock refused the call", extra={"exception_type": name, "status": status})
    return Internal(retryable=False)
