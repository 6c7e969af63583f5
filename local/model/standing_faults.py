"""Faults set from outside, for whatever request comes, until they are used up or cleared."""

from typing import Any

from local.model.faults import Fault, FaultSpec, FaultSyntaxError, parse_fault


class StandingFaults:
    """At most one fault for every model and one for each named model; the named one goes first."""

    def __init__(self) -> None:
        self._specs: dict[str | None, tuple[str, FaultSpec]] = {}

    def put(self, wish: object) -> None:
        """Set what `{"fault": "…", "times": N, "model": "…"}` asks for; without times it stands until cleared.

        Raises `FaultSyntaxError`.
        """
        match wish:
            case {"fault": str(text), **rest} if rest.keys() <= {"times", "model"}:
                spec = parse_fault(text)
            case _:
                raise FaultSyntaxError('expected {"fault": "…", "times": a number, "model": "…"}')
        times, model = rest.get("times", spec.times), rest.get("model")
        if times is not None and (type(times) is not int or times < 1):
            raise FaultSyntaxError(f"times must be a whole number of at least 1, not {times!r}")
        if model is not None and not isinstance(model, str):
            raise FaultSyntaxError(f"model must be a string, not {model!r}")
        self._specs[model] = (text, FaultSpec(spec.fault, times))

    def clear(self) -> None:
        """No faults any more."""
        self._specs.clear()

    def take(self, model: str) -> Fault | None:
        """Return the fault that this request to `model` gets, and use it up by one."""
        key = model if model in self._specs else None
        if key not in self._specs:
            return None
        text, spec = self._specs.pop(key)
        if spec.times is None:
            self._specs[key] = (text, spec)
        elif spec.times > 1:
            self._specs[key] = (text, FaultSpec(spec.fault, spec.times - 1))
        return spec.fault

    def to_json(self) -> dict[str, Any]:
        """Show what still stands."""
        return {
            "faults": [
                {"fault": text, "times": spec.times, "model": model} for model, (text, spec) in self._specs.items()
            ]
        }
