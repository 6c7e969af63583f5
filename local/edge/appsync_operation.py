"""Operations of GraphQL documents, as far as AppSync judges them before it resolves a field.

A document that exceeds a limit, or asks for a field that the caller may not see, is refused as a whole. AppSync itself
resolves the other fields and gives null for these; the errors are the same.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLError,
    GraphQLField,
    InlineFragmentNode,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_named_type,
    get_operation_ast,
    is_composite_type,
    parse,
    specified_rules,
    validate,
)
from graphql.language import DocumentNode

from local.edge.appsync_callers import Caller
from local.edge.appsync_errors import FieldErrors, malformed
from local.edge.appsync_request import GraphQLRequest
from local.edge.appsync_schema import ApiSchema

MAX_TOKENS = 15_000
"""Of a document's text: the limit of graphql-java, which AppSync runs."""
MAX_FIELDS = 10_000
"""As many resolvers as AppSync runs for a request, whatever the API's own limit."""
_CACHED_BYTES = 16 * 1024
_CACHED = 128


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """The API's settings; a limit is None where there is none."""

    introspection: bool
    depth: int | None = None
    resolvers: int | None = None


@dataclass(frozen=True, slots=True)
class SelectedField:
    """A field that an operation asks for, at this path of its result."""

    path: tuple[str, ...]
    parent: GraphQLCompositeType
    definition: GraphQLField
    nodes: tuple[FieldNode, ...]

    @property
    def name(self) -> str:
        """Its name in the schema, which may not be its key in the result."""
        return self.nodes[0].name.value


class Operation:
    """One operation of a valid document."""

    def __init__(self, schema: ApiSchema, document: DocumentNode, node: OperationDefinitionNode) -> None:
        root = schema.graphql.get_root_type(node.operation)
        assert root is not None  # noqa: S101 the document is valid
        self.document = document
        self.node = node
        self._schema = schema
        self._root = root
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }

    @property
    def kind(self) -> OperationType:
        """Whether it is a query, a mutation or a subscription."""
        return self.node.operation

    def root_fields(self) -> list[SelectedField]:
        """Give the fields of its outermost level."""
        return list(self._fields(self._root, [self.node.selection_set], ()))

    def inner_fields(self, field: SelectedField) -> Iterator[SelectedField]:
        """Give what an operation asks of a field's object."""
        type_ = get_named_type(field.definition.type)
        if is_composite_type(type_):
            sets = [node.selection_set for node in field.nodes if node.selection_set]
            yield from self._fields(type_, sets, field.path)

    def check(self, caller: Caller, limits: DocumentLimits, has_resolver: Callable[[str, str], bool]) -> None:
        """Hold the API's limits and its schema's directives; raises `FieldErrors`."""
        resolvers = 0
        refused: list[dict[str, Any]] = []
        for fields, field in enumerate(self._all_fields(), 1):
            resolvers += has_resolver(field.parent.name, field.name)
            if limits.depth is not None and len(field.path) > limits.depth:
                message = f"Query depth limit of {limits.depth} reached."
                raise FieldErrors([_field_error(field, "QueryDepthLimitReached", message)])
            if fields > MAX_FIELDS or (limits.resolvers is not None and resolvers > limits.resolvers):
                message = f"Resolver count limit of {limits.resolvers or MAX_FIELDS} reached."
                raise FieldErrors([_field_error(field, "ResolverExecutionLimitReached", message)])
            if not self._schema.may(caller, field.parent, field.name):
                message = f"Not Authorized to access {field.name} on type {field.parent.name}"
                refused.append(_field_error(field, "Unauthorized", message))
        if refused:
            raise FieldErrors(refused)

    def results(self, data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give each outermost field that has an object for a result, its keys the schema's names in place of aliases.

        What was not selected is not in it.
        """
        for field in self.root_fields():
            if isinstance(value := data.get(field.path[-1]), dict):
                yield field.name, self._by_names(field, value)

    def _by_names(self, field: SelectedField, value: Any) -> Any:
        match value:
            case list():
                return [self._by_names(field, item) for item in value]
            case dict():
                return {
                    inner.name: self._by_names(inner, value[inner.path[-1]])
                    for inner in self.inner_fields(field)
                    if inner.path[-1] in value
                }
            case _:
                return value

    def _all_fields(self) -> Iterator[SelectedField]:
        waiting = self.root_fields()[::-1]
        while waiting:
            field = waiting.pop()
            yield field
            waiting.extend(list(self.inner_fields(field))[::-1])

    def _fields(
        self, type_: GraphQLCompositeType, sets: list[SelectionSetNode], path: tuple[str, ...]
    ) -> Iterator[SelectedField]:
        """Collect what these selections ask of a type, fragments included, each field once."""
        found: dict[tuple[str, str], tuple[GraphQLCompositeType, list[FieldNode]]] = {}
        waiting = [(type_, selections) for selections in sets]
        spread = set()
        while waiting:
            parent, selections = waiting.pop(0)
            for node in selections.selections:
                match node:
                    case FieldNode():
                        key = node.alias.value if node.alias else node.name.value
                        found.setdefault((key, parent.name), (parent, []))[1].append(node)
                    case InlineFragmentNode():
                        waiting.append((self._condition(node, parent), node.selection_set))
                    case FragmentSpreadNode() if node.name.value not in spread:
                        spread.add(node.name.value)
                        fragment = self._fragments[node.name.value]
                        waiting.append((self._condition(fragment, parent), fragment.selection_set))
        for (key, _), (parent, nodes) in found.items():
            definition = self._schema.graphql.get_field(parent, nodes[0].name.value)
            assert definition is not None  # noqa: S101 the document is valid
            yield SelectedField((*path, key), parent, definition, tuple(nodes))

    def _condition(
        self, fragment: InlineFragmentNode | FragmentDefinitionNode, parent: GraphQLCompositeType
    ) -> GraphQLCompositeType:
        if not fragment.type_condition:
            return parent
        type_ = self._schema.graphql.get_type(fragment.type_condition.name.value)
        assert is_composite_type(type_)  # noqa: S101 the document is valid
        return type_


class Operations:
    """Reads the operations of one API's requests; the documents that come again and again it reads once."""

    def __init__(self, schema: ApiSchema, *, introspection: bool) -> None:
        self._schema = schema
        rules = list(specified_rules)
        if not introspection:
            rules.append(NoSchemaIntrospectionCustomRule)
        self._rules = rules
        self._kept = lru_cache(_CACHED)(self._read)

    def read(self, request: GraphQLRequest) -> Operation:
        """Give the operation that a request means; raises `RefusedError` and `FieldErrors`."""
        read = self._kept if len(request.query) <= _CACHED_BYTES else self._read
        return read(request.query, request.operation_name)

    def _read(self, query: str, operation_name: str | None) -> Operation:
        try:
            document = parse(query, max_tokens=MAX_TOKENS)
            errors = validate(self._schema.graphql, document, self._rules)
        except GraphQLError:
            raise malformed("Unable to parse GraphQL query.") from None
        if errors:
            raise FieldErrors([_validation_error(error) for error in errors])
        node = get_operation_ast(document, operation_name)
        if not node:
            raise malformed("Unable to find the operation of the request, or to choose one.")
        return Operation(self._schema, document, node)


def _field_error(field: SelectedField, type_: str, message: str) -> dict[str, Any]:
    location = field.nodes[0].loc
    return {
        "path": list(field.path),
        "data": None,
        "errorType": type_,
        "errorInfo": None,
        "locations": [
            {"line": location.start_token.line, "column": location.start_token.column, "sourceName": None}
            for location in [location]
            if location
        ],
        "message": message,
    }


def _validation_error(error: GraphQLError) -> dict[str, Any]:
    return {
        "path": None,
        "locations": [{"line": at.line, "column": at.column, "sourceName": None} for at in error.locations or ()],
        "message": error.message,
    }
