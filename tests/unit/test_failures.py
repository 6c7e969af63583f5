import logging

import pytest
from botocore.loaders import Loader

from tokenstream.errors import ErrorCode, ModelError
from tokenstream.sources.failures import failure

CODES = {
    "AccessDeniedException": ("model_access", False),
    "InternalServerException": ("model_error", True),
    "ModelErrorException": ("model_error", True),
    "ModelNotReadyException": ("model_error", True),
    "ModelStreamErrorException": ("model_error", True),
    "ModelTimeoutException": ("model_timeout", True),
    "ResourceNotFoundException": ("model_error", False),
    "ServiceQuotaExceededException": ("throttled", True),
    "ServiceUnavailableException": ("model_error", True),
    "ThrottlingException": ("throttled", True),
    "ValidationException": ("model_error", False),
}


@pytest.mark.parametrize("operation", ["InvokeModelWithResponseStream", "ConverseStream"])
def test_every_exception_that_the_service_model_names_has_a_meaning(operation: str) -> None:
    model = Loader().load_service_model("bedrock-runtime", "service-2")
    named = {error["shape"] for error in model["operations"][operation]["errors"]}
    assert named
    assert named <= CODES.keys()


@pytest.mark.parametrize(("name", "meaning"), CODES.items())
@pytest.mark.parametrize("spelling", ["{}", "{}:http://internal.amazon.com/coral/com.amazon.bedrock/", "lower"])
def test_an_exception_means_the_same_wherever_it_comes(name: str, meaning: tuple[str, bool], spelling: str) -> None:
    # In mid-stream the names begin with a small letter.
    spelled = name[0].lower() + name[1:] if spelling == "lower" else spelling.format(name)
    error = failure(spelled)
    assert (error.code, error.retryable) == meaning


def test_no_access_says_that_it_has_to_be_granted_and_where() -> None:
    assert "Grant it in the Amazon Bedrock console, under Model access" in str(failure("AccessDeniedException", 403))


@pytest.mark.parametrize(
    ("name", "status", "code", "retryable"),
    [
        ("", 429, "throttled", True),
        ("TooManyRequestsException", 429, "throttled", True),
        ("", 500, "model_error", True),
        ("", 502, "model_error", True),
        ("", 503, "model_error", True),
        ("UnknownError", 504, "model_error", True),
        ("", 400, "internal", False),
        ("ExpiredTokenException", 403, "internal", False),
        ("UnrecognizedClientException", 403, "internal", False),
        ("", 301, "internal", False),
        ("", None, "internal", False),
        ("internalError", None, "internal", False),
    ],
)
def test_the_status_decides_where_the_name_says_nothing(
    name: str, status: int | None, code: str, retryable: bool
) -> None:
    error = failure(name, status)
    assert (error.code, error.retryable) == (code, retryable)


def test_the_name_counts_more_than_the_status() -> None:
    assert isinstance(failure("ModelNotReadyException", 429), ModelError)
    assert failure("AccessDeniedException", 503).code is ErrorCode.MODEL_ACCESS


def test_a_fault_of_ours_is_logged_with_its_name_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    error = failure("InvalidSignatureException:http://internal.amazon.com/", 403)
    [record] = caplog.records
    assert record.__dict__["exception_type"] == "InvalidSignatureException"
    assert record.__dict__["status"] == 403
    assert "Signature" not in str(error)
