"""The sessions table: who owns a session, who works on it, what it has said.

A session is an item `session` (the record, under 1 KB: its worker reads it twice a second), an item `request` (what was
asked, for a later attempt) and items `frames#<attempt>#<first sequence>` (batches of frames as JSON strings). The
record takes the terminal frame itself, in the one conditional write that ends the session: there can't be two.

As long as a session is open its record has a `shard`, and so a place in the index `open`, by the time of its creation.
That is written twice a session: renewing a lease doesn't touch the index.

Times are epoch seconds. A worker owns an attempt while its lease lasts; it claims and keeps it by conditional writes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from tokenstream.errors import Conflict, ErrorCode, Internal, NotFound
from tokenstream.frames import Position, Sealed, unseal
from tokenstream.session import (
    LEASE_SECONDS,
    NEXT_ATTEMPT_SECONDS,
    Claim,
    Instructions,
    NewSession,
    Recipient,
    Session,
    Status,
)

_RECORD = "session"
_REQUEST = "request"
_ATTRIBUTES = (
    "owner",
    "status",
    "attempt",
    "path",
    "worker",
    "leaseUntil",
    "cancelRequested",
    "recipient",
    "goneTicket",
    "behind",
    "ticket",
    "failure",
    "shard",
    "terminal",
)
OPEN_INDEX = "open"
SHARDS = tuple("0123456789abcdef")
"""By a session's first digit: one partition of an index takes 1,000 writes a second."""

LAST_SEQUENCE = 99_999_999


class SessionsUnavailable(Internal):
    """The table did not answer as it should; another try may work."""


class LeaseLost(Exception):
    """The attempt is another worker's now, or the session has ended."""


class _ConditionFailed(Exception):
    """The record is not as the write wants it."""


class Sessions:
    """The table's operations. Each raises `SessionsUnavailable` when the table can't be used.

    `client` is a DynamoDB client of boto3's, botocore's or `aws_clients`', `ttl` how many seconds a session is kept.
    """

    def __init__(self, client: Any, table: str, *, ttl: int, store_answers: bool) -> None:
        self._client = client
        self._table = table
        self._ttl = ttl
        self.store_answers = store_answers

    def begin(self, new: NewSession, worker: str, now: float) -> Claim:
        """Create a session and claim its first attempt in one write; raises `Conflict` if the id was used before."""
        claim = Claim(new.session_id, 1, worker, now + LEASE_SECONDS)
        self._create(
            new,
            now,
            {
                "status": {"S": "running"},
                "attempt": {"N": "1"},
                "worker": {"S": worker},
                "leaseUntil": {"N": str(claim.lease_until)},
            },
        )
        return claim

    def accept(self, new: NewSession, recipient: Recipient | None, now: float, *, begin_within: float) -> None:
        """Create a session for a worker to come, in so many seconds; raises `Conflict` if the id was used before."""
        self._create(
            new,
            now,
            {
                "status": {"S": "accepted"},
                "attempt": {"N": "0"},
                "leaseUntil": {"N": str(now + begin_within)},
                **({"recipient": _recipient_item(recipient)} if recipient else {}),
            },
        )

    def claim(self, session_id: str, worker: str, now: float) -> Claim:
        """Take a session that nobody works on, as its next attempt; raises `LeaseLost` where somebody does."""
        item = self._update_held(
            session_id,
            "SET #status = :running, #worker = :worker, #leaseUntil = :lease REMOVE #failure ADD #attempt :one",
            # The last alternative is this very claim, repeated because its answer was lost.
            "#status IN (:accepted, :recovering) OR (#status = :running AND "
            "(#leaseUntil < :now OR (#worker = :worker AND #leaseUntil = :lease)))",
            {
                ":running": {"S": "running"},
                ":accepted": {"S": "accepted"},
                ":recovering": {"S": "recovering"},
                ":worker": {"S": worker},
                ":lease": {"N": str(now + LEASE_SECONDS)},
                ":now": {"N": str(now)},
                ":one": {"N": "1"},
            },
        )
        return Claim(session_id, int(item["attempt"]["N"]), worker, now + LEASE_SECONDS, _instructions(item))

    def renew(self, claim: Claim, now: float) -> Instructions:
        """Prolong the lease and read what the client wants. Raises `LeaseLost`."""
        item = self._update_claimed(claim, "SET #leaseUntil = :lease", {":lease": {"N": str(now + LEASE_SECONDS)}})
        return _instructions(item)

    def instructions(self, claim: Claim) -> Instructions:
        """Read what the client wants. Raises `LeaseLost`."""
        item = self._get(claim.session_id)
        if item is None or _holder(item) != (claim.worker, claim.attempt):
            raise LeaseLost
        return _instructions(item)

    def release(self, claim: Claim, failure: ErrorCode | None, now: float) -> None:
        """Give the attempt up, for this reason, and leave the session to the next one. Raises `LeaseLost`."""
        update = "SET #status = :next, #leaseUntil = :until"
        values = {":next": {"S": "recovering"}, ":until": {"N": str(now + NEXT_ATTEMPT_SECONDS)}}
        if failure is not None:
            update += ", #failure = :failure"
            values[":failure"] = {"S": failure}
        self._update_claimed(claim, update, values)

    def abandon(self, session_id: str, worker: str, now: float) -> None:
        """Leave a session to the next attempt whose worker is known to have failed, if that worker has it still."""
        with suppress(_ConditionFailed):
            self._update(
                session_id,
                "SET #status = :next, #leaseUntil = :until",
                "#status = :running AND #worker = :worker",
                {
                    ":next": {"S": "recovering"},
                    ":until": {"N": str(now + NEXT_ATTEMPT_SECONDS)},
                    ":running": {"S": "running"},
                    ":worker": {"S": worker},
                },
            )

    def settle(self, claim: Claim, status: Status, terminal: Sealed) -> Instructions:
        """End the session with its terminal frame; tells what the client wanted up to then. Raises `LeaseLost`.

        Repeated because its answer was lost, the write finds its own terminal frame and succeeds again.
        """
        item = self._update_claimed(
            claim,
            "SET #status = :ended, #terminal = :terminal REMOVE #shard",
            {":ended": {"S": status}, ":terminal": {"S": terminal.json.decode()}},
            state="(#status = :running OR #terminal = :terminal)",
        )
        return _instructions(item)

    def store(self, claim: Claim, frames: Sequence[Sealed], now: float) -> None:
        """Store a batch of an attempt's frames, in order and without a gap; at most 400 KB with its keys."""
        first = frames[0].frame.position
        item = self._item(claim.session_id, _frames_key(first), now) | {
            "frames": {"L": [{"S": frame.json.decode()} for frame in frames]}
        }
        with _translated():
            self._client.put_item(TableName=self._table, Item=item)

    def get(self, session_id: str, owner: str) -> Session:
        """Read a user's session; raises `NotFound`."""
        session = self.find(session_id)
        if session is None or session.owner != owner:
            raise NotFound("There is no such session.")
        return session

    def find(self, session_id: str) -> Session | None:
        """Read a session on nobody's behalf."""
        item = self._get(session_id)
        return None if item is None else _session(item)

    def request(self, session_id: str) -> bytes | None:
        """Read what was asked, as the client's JSON; None where answers aren't stored, or the session has expired."""
        item = self._get(session_id, _REQUEST)
        return None if item is None else item["request"]["S"].encode()

    def open_since(self, before: float) -> Iterator[str]:
        """Go through the sessions that were created before a time and have not ended, as far as the index knows.

        From one minute to the next they are gone through from another place on: whoever hasn't the time for all of them
        gets to each.
        """
        first = int(before) // 60 % len(SHARDS)
        for shard in SHARDS[first:] + SHARDS[:first]:
            query = {
                "TableName": self._table,
                "IndexName": OPEN_INDEX,
                "KeyConditionExpression": "#shard = :shard AND createdAt < :before",
                "ExpressionAttributeNames": {"#shard": "shard"},
                "ExpressionAttributeValues": {":shard": {"S": shard}, ":before": {"N": str(before)}},
            }
            while query:
                with _translated():
                    page = self._client.query(**query)
                yield from (item["sessionId"]["S"] for item in page["Items"])
                query = query | {"ExclusiveStartKey": page["LastEvaluatedKey"]} if "LastEvaluatedKey" in page else {}

    def client_gone(self, session_id: str, recipient: Recipient) -> None:
        """Note that the recipient's connection is closed, if the client doesn't wait on another one by now."""
        with suppress(_ConditionFailed):
            self._update(
                session_id,
                "SET #goneTicket = :ticket",
                "#recipient.#ticket = :ticket",
                {":ticket": {"S": recipient.ticket}},
            )

    def fallen_behind(self, session_id: str) -> None:
        """Note that queued frames have to wait for their delivery: fewer and longer ones would not."""
        with suppress(_ConditionFailed):
            self._update(
                session_id,
                "SET #behind = :true",
                "#status = :running",
                {":true": {"BOOL": True}, ":running": {"S": "running"}},
            )

    def redirect(self, session_id: str, owner: str, recipient: Recipient) -> bool:
        """Have the worker send to another WebSocket connection, from a position on. Raises `NotFound`.

        False if there is none that would: the session has ended, or is another path's.
        """
        try:
            self._update(
                session_id,
                "SET #recipient = :recipient",
                "#owner = :owner AND #path = :websocket AND #status IN (:accepted, :running, :recovering)",
                {
                    ":recipient": _recipient_item(recipient),
                    ":owner": {"S": owner},
                    ":websocket": {"S": "websocket"},
                    ":accepted": {"S": "accepted"},
                    ":running": {"S": "running"},
                    ":recovering": {"S": "recovering"},
                },
            )
        except _ConditionFailed:
            self.get(session_id, owner)
            return False
        return True

    def request_cancel(self, session_id: str, owner: str) -> Status:
        """Ask the worker to stop; returns the status at that moment. Raises `NotFound`."""
        values = {":true": {"BOOL": True}, ":owner": {"S": owner}}
        try:
            item = self._update(session_id, "SET #cancelRequested = :true", "#owner = :owner", values)
        except _ConditionFailed as error:
            raise NotFound("There is no such session.") from error
        return cast("Status", item["status"]["S"])

    def frames_after(self, session_id: str, attempt: int, sequence: int) -> list[Sealed]:
        """Read an attempt's stored frames behind a sequence number; what one query gives, some 1 MB at most."""
        # The batch that holds the next frame may begin before it. It is read last: what is stored in between then
        # comes with the next call, instead of being left out before a later batch.
        following = self._batches(session_id, Position(attempt, sequence + 2), Position(attempt, LAST_SEQUENCE))
        holding = self._batches(
            session_id, Position(attempt, 1), Position(attempt, sequence + 1), ScanIndexForward=False, Limit=1
        )
        frames = (unseal(json["S"]) for batch in holding + following for json in batch["frames"]["L"])
        return [sealed for sealed in frames if sealed.frame.sequence > sequence]

    def _batches(self, session_id: str, first: Position, last: Position, **options: Any) -> list[dict[str, Any]]:
        with _translated():
            page = self._client.query(
                TableName=self._table,
                KeyConditionExpression="sessionId = :id AND #item BETWEEN :first AND :last",
                ExpressionAttributeNames={"#item": "item"},
                ExpressionAttributeValues={
                    ":id": {"S": session_id},
                    ":first": {"S": _frames_key(first)},
                    ":last": {"S": _frames_key(last)},
                },
                ConsistentRead=True,
                **options,
            )
        return cast("list[dict[str, Any]]", page["Items"])

    def _create(self, new: NewSession, now: float, state: dict[str, Any]) -> None:
        record = self._item(new.session_id, _RECORD, now) | {
            "owner": {"S": new.owner},
            "path": {"S": new.path},
            "delivery": {"S": new.delivery},
            "model": {"S": new.model},
            "cancelRequested": {"BOOL": False},
            "createdAt": {"N": str(now)},
            "shard": {"S": new.session_id[0]},
            **state,
        }
        items = [record]
        if self.store_answers:
            items.append(self._item(new.session_id, _REQUEST, now) | {"request": {"S": new.request.decode()}})
        fresh = {"TableName": self._table, "ConditionExpression": "attribute_not_exists(sessionId)"}
        with _translated():
            try:
                self._client.transact_write_items(TransactItems=[{"Put": fresh | {"Item": item}} for item in items])
            except ClientError as error:
                # Only a cancelled transaction has any.
                reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
                # TransactionConflict: the same id is being created at this very moment.
                if reasons & {"ConditionalCheckFailed", "TransactionConflict"}:
                    raise Conflict("This session id was used before.", field="sessionId") from error
                raise

    def _get(self, session_id: str, item: str = _RECORD) -> dict[str, Any] | None:
        with _translated():
            answer = self._client.get_item(TableName=self._table, Key=_key(session_id, item), ConsistentRead=True)
        return cast("dict[str, Any] | None", answer.get("Item"))

    def _update_claimed(
        self, claim: Claim, update: str, values: dict[str, Any], state: str = "#status = :running"
    ) -> dict[str, Any]:
        # A worker is named after its invocation: a repeated one has the name of the first, not its attempt.
        condition = f"#worker = :worker AND #attempt = :attempt AND {state}"
        mine = {":worker": {"S": claim.worker}, ":attempt": {"N": str(claim.attempt)}, ":running": {"S": "running"}}
        return self._update_held(claim.session_id, update, condition, mine | values)

    def _update_held(self, session_id: str, update: str, condition: str, values: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._update(session_id, update, condition, values)
        except _ConditionFailed as error:
            raise LeaseLost from error

    def _update(self, session_id: str, update: str, condition: str, values: dict[str, Any]) -> dict[str, Any]:
        with _translated():
            try:
                answer = self._client.update_item(
                    TableName=self._table,
                    Key=_key(session_id, _RECORD),
                    UpdateExpression=update,
                    ConditionExpression=condition,
                    ExpressionAttributeNames={
                        f"#{name}": name for name in _ATTRIBUTES if f"#{name}" in update + condition
                    },
                    ExpressionAttributeValues=values,
                    ReturnValues="ALL_NEW",
                )
            except ClientError as error:
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
                raise _ConditionFailed from error
        return cast("dict[str, Any]", answer["Attributes"])

    def _item(self, session_id: str, item: str, now: float) -> dict[str, Any]:
        return _key(session_id, item) | {"expiresAt": {"N": str(int(now) + self._ttl)}}


def _key(session_id: str, item: str) -> dict[str, Any]:
    return {"sessionId": {"S": session_id}, "item": {"S": item}}


def _frames_key(first: Position) -> str:
    # Zero-padded, so that the keys' order is the frames' order.
    return f"frames#{first.attempt:06d}#{first.sequence:08d}"


def _holder(item: dict[str, Any]) -> tuple[str, int] | None:
    """Return worker and attempt where one is running."""
    return (item["worker"]["S"], int(item["attempt"]["N"])) if item["status"]["S"] == "running" else None


def _recipient_item(recipient: Recipient) -> dict[str, Any]:
    return {
        "M": {
            "connectionId": {"S": recipient.connection_id},
            "attempt": {"N": str(recipient.after.attempt)},
            "sequence": {"N": str(recipient.after.sequence)},
            "ticket": {"S": recipient.ticket},
        }
    }


def _instructions(item: dict[str, Any]) -> Instructions:
    fields = item["recipient"]["M"] if "recipient" in item else None
    recipient = fields and Recipient(
        fields["connectionId"]["S"],
        Position(int(fields["attempt"]["N"]), int(fields["sequence"]["N"])),
        fields["ticket"]["S"],
    )
    gone = recipient is not None and item.get("goneTicket") == {"S": recipient.ticket}
    behind = item.get("behind") == {"BOOL": True}
    return Instructions(cancel=item["cancelRequested"]["BOOL"], recipient=recipient, gone=gone, behind=behind)


def _session(item: dict[str, Any]) -> Session:
    return Session(
        session_id=item["sessionId"]["S"],
        owner=item["owner"]["S"],
        status=item["status"]["S"],
        attempt=int(item["attempt"]["N"]),
        path=item["path"]["S"],
        delivery=item["delivery"]["S"],
        model=item["model"]["S"],
        lease_until=float(item["leaseUntil"]["N"]),
        cancel_requested=_instructions(item).cancel,
        recipient=_instructions(item).recipient,
        behind=_instructions(item).behind,
        failure=ErrorCode(item["failure"]["S"]) if "failure" in item else None,
        terminal=unseal(item["terminal"]["S"]) if "terminal" in item else None,
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise SessionsUnavailable from error
