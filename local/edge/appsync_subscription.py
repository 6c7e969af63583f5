"""One subscription: which events it is for, and what of them it asked for.

Source: AppSync developer guide, "Using subscription arguments", "Defining enhanced subscriptions filters".
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from graphql import (
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    execute_sync,
    get_argument_values,
    get_named_type,
    get_variable_values,
    is_non_null_type,
)

from local.edge.appsync_errors import BAD_REQUEST, FieldErrors
from local.edge.appsync_filter import SubscriptionFilter, same
from local.edge.appsync_operation import Operation
from local.edge.appsync_schema import ApiSchema

Event: TypeAlias = Mapping[str, Any]
"""What a mutation's caller selected of its result, by the schema's names."""
Payload: TypeAlias = dict[str, Any]
"""A GraphQL result: `data`, and perhaps `errors`."""


class Subscription:
    """A subscription operation with its arguments. Raises `FieldErrors` for variables that don't fit.

    With an enhanced filter AppSync may no longer look at the arguments, which is not documented; here both have to let
    an event pass.
    """

    def __init__(self, schema: ApiSchema, operation: Operation, variables: Mapping[str, Any]) -> None:
        [root] = operation.root_fields()
        self.field = root.name
        self.arguments, self.variables = _arguments(schema, operation, variables)
        self.selection = [field.name for field in operation.inner_fields(root)]
        self.filter: SubscriptionFilter | None = None
        self._schema = schema.graphql
        self._operation = operation
        returned = cast("GraphQLObjectType", get_named_type(root.definition.type))
        self._matched = {name: value for name, value in self.arguments.items() if name in returned.fields}

    def admits(self, event: Event) -> bool:
        """Tell whether an event is for this subscription: a field that it lacks is null."""
        by_arguments = all(same(event.get(name), value) for name, value in self._matched.items())
        return by_arguments and (self.filter is None or self.filter.admits(event))

    def payload(self, event: Event) -> Payload:
        """Select from an event. What its mutation did not select is null, an error where there has to be a value."""
        result = execute_sync(
            self._schema,
            self._operation.document,
            {self.field: event},
            variable_values=dict(self.variables),
            operation_name=self._operation.node.name.value if self._operation.node.name else None,
            field_resolver=_selected,
        )
        payload: Payload = {"data": result.data}
        if result.errors:
            payload["errors"] = [{"message": error.message, "path": error.path} for error in result.errors]
        return payload


class Subscriptions:
    """The subscriptions of all clients of one API, and where their events go."""

    def __init__(self, schema: ApiSchema) -> None:
        self._schema = schema
        self._deliveries: dict[Subscription, Callable[[Payload], None]] = {}

    def add(self, subscription: Subscription, deliver: Callable[[Payload], None]) -> None:
        """Deliver what comes from now on; `deliver` must not wait."""
        self._deliveries[subscription] = deliver

    def remove(self, subscription: Subscription) -> None:
        """Deliver nothing any more."""
        self._deliveries.pop(subscription, None)

    def publish(self, mutation: str, event: Event) -> None:
        """Deliver a mutation's result to every subscription that it is for."""
        fields = self._schema.subscriptions_of(mutation)
        for subscription, deliver in list(self._deliveries.items()):
            if subscription.field in fields and subscription.admits(event):
                deliver(subscription.payload(event))


def _arguments(
    schema: ApiSchema, operation: Operation, variables: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    values = get_variable_values(schema.graphql, operation.node.variable_definitions or (), dict(variables))
    if isinstance(values, list):
        raise FieldErrors([{"errorType": BAD_REQUEST, "message": error.message} for error in values])
    [root] = operation.root_fields()
    try:
        return get_argument_values(root.definition, root.nodes[0], values), dict(variables)
    except GraphQLError as error:
        raise FieldErrors([{"errorType": BAD_REQUEST, "message": error.message}]) from error


def _selected(source: Event, info: GraphQLResolveInfo[Any], **_arguments: Any) -> Any:
    value = source.get(info.field_name)
    if value is None and is_non_null_type(info.return_type):
        path = "/".join(map(str, info.path.as_list()))
        raise GraphQLError(
            f"Cannot return null for non-nullable type: '{info.return_type.of_type}' "
            f"within parent '{info.parent_type}' (/{path})"
        )
    return value
