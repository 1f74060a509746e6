"""The contracts' structs as frozen dataclasses: fields in snake_case, in the ABI's order.

Generated from the contracts' ABI and NatSpec: do not edit, run `python -m registry.dev.mirror`.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.types import ZERO32, Address, Digest, Fault, ModelId, Role, Root, RoundId, SegmentKind

__all__ = [
    "Basis",
    "Before",
    "Bond",
    "Commitment",
    "Conviction",
    "Counted",
    "Demand",
    "Demanded",
    "Dispute",
    "Grant",
    "Listed",
    "Member",
    "Membership",
    "Middle",
    "Model",
    "OpenDemands",
    "Opening",
    "PlacedSegment",
    "Plan",
    "Product",
    "Result",
    "Roots",
    "Round",
    "ScoreTerms",
    "Scoring",
    "Selection",
    "Shown",
    "SignedUpdate",
    "Step",
    "Sum",
    "Target",
    "UpdateRow",
    "Version",
    "Window",
]

_ZERO_ROOT = Root(ZERO32)


@dataclass(frozen=True, slots=True)
class Plan:
    """The rules of a model's rounds. An entry of the plan history never changes; a round names its entry.

    Attributes:
        digest: sha2-256 of the plan manifest. Never zero.
        rules_hash: keccak256 of the rule bytes, see `IRules`: how contributions are combined and a version is made of
            the aggregate.
        quorum: Equal attestations that make a result. At least 1.
        weight_cap: Largest weight of one update, 1..MAX_WEIGHT.
        min_contributions: Fewest contributions a result may have. At least 1.
        commit_duration: Seconds, MIN_DURATION..MAX_DURATION each.
        answer_duration: Seconds in which a demanded leaf is shown: MIN_DURATION..`challenge_duration` / WALK_STEPS.
        bond_gwei: What an aggregator must have deposited to attest, in gwei; zero for none.
        demand_price_gwei: Least deposit of a demanded leaf, in gwei: 0..MAX_DEMAND_PRICE_GWEI of Rules. It goes to
            whoever answers.
        late_duration: Seconds after the answer time in which a leaf may still be shown, which then burns of the
            attesters' bonds; zero for none, and without a bond. With the answer time at most `challenge_duration` /
            WALK_STEPS.
        enough_commitments: Commitments with which anyone may end phase Commit before its time: at least
            `min_contributions`; zero if only all participants together may.
        least_commit_duration: Seconds that phase Commit has at least, however many have committed:
            MIN_DURATION..`commit_duration`; zero without `enough_commitments`. Whoever takes longer than that may be
            left out.
        hooks: Asked at each commit, in this order; at most MAX_HOOKS of Rules, none of them zero.
    """

    digest: Digest
    rules_hash: bytes
    quorum: int
    weight_cap: int
    min_contributions: int
    commit_duration: int
    publish_duration: int
    aggregate_duration: int
    challenge_duration: int
    answer_duration: int
    bond_gwei: int
    demand_price_gwei: int = 0
    late_duration: int = 0
    enough_commitments: int = 0
    least_commit_duration: int = 0
    hooks: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class SignedUpdate:
    """An update as its participant signed it, for whoever sends it.

    Attributes:
        valid_until: Last second at which the signature counts; the commit deadline ends it as well.
        hook_data: See `commit_update`.
        signature: Of `commitment_hash`: by the participant's key, or as its contract accepts (EIP-1271).
    """

    participant: Address
    digest: Digest
    tensor_root: Root
    weight: int
    steps: int
    valid_until: int
    hook_data: tuple[bytes, ...] = ()
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Roots:
    """The roots of a version: everything in it that later rounds are computed from.

    Attributes:
        tensor: Counted Merkle root of the F32 values of its file, wherever they stand in it. Never zero.
        rest: sha2-256 of everything else in its file, header included. Rounds leave it as it is. Never zero.
        state: Counted Merkle root of the server's state; zero for the initial state.
        state_layout: What that state is laid out by, see `IRules.layoutOf`; a state of another layout counts as the
            initial one.
        step: Server steps that the state has seen.
    """

    tensor: Root
    rest: Root
    state: Root = _ZERO_ROOT
    state_layout: bytes = ZERO32
    step: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What aggregators attest.

    Attributes:
        version_digest: sha2-256 of the head of the new version. Never zero, never a known version of the model.
        roots: Of the new version.
        report_digest: sha2-256 of the report's head. Never zero.
        aggregate_root: Tensor root of the aggregate. Never zero.
        contributions_root: Built like a tensor root over abi.encode(participant, digest, tensorRoot, weight, steps,
            factor), strictly ascending by participant. The factor is what the contribution counts in the sum: its
            weight, or 1 where each counts once; under a rule that selects, never more than its weight, or than 2^16
            where each counts once. Never zero.
        contributions: Number of contributions, at most the round's commitments.
        total_weight: Sum of their weights, contributions..MAX_WEIGHT.
        total_steps: Sum of their steps, contributions..2^37.
        divisor: What the sum of factor times update is divided by: the sum of the factors; under a rule that selects,
            never less. 1..MAX_WEIGHT.
    """

    version_digest: Digest
    roots: Roots
    report_digest: Digest
    aggregate_root: Root
    contributions_root: Root
    contributions: int
    total_weight: int
    total_steps: int
    divisor: int


@dataclass(frozen=True, slots=True)
class Dispute:
    """What a challenge needs to know of the result whose window is open.

    Attributes:
        tally: See `tally_of`; zero where no window is open.
        first_hash: The running hash of the round before any commitment.
        running_hash: And after all.
        parent_roots: keccak256(abi.encode(Roots)) of the parent.
        rules_hash: keccak256 of the plan's rule bytes.
    """

    round_id: RoundId
    tally: bytes
    result_hash: bytes
    first_hash: bytes
    running_hash: bytes
    parent: Digest
    parent_roots: bytes
    plan_digest: Digest
    rules_hash: bytes
    challenge_duration: int
    challenge_deadline: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Roles for one account, for batches."""

    account: Address
    roles: Role


@dataclass(frozen=True, slots=True)
class Model:
    """A model as `model` shows it.

    Attributes:
        pending_owner: Zero unless an ownership transfer waits for acceptance.
        head: Digest of the newest sound version.
        participants: Accounts that hold PARTICIPANT.
        rounds: Number of the last round opened; 0 before the first.
        plans: Entries of the plan history.
        suspended: No new round opens while set.
    """

    owner: Address
    pending_owner: Address
    head: Digest
    participants: int
    rounds: int
    plans: int
    suspended: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A member as `member` shows it.

    Attributes:
        last_round: Number of the last round this account committed in; 0 for none. Survives a revocation.
    """

    roles: Role
    last_round: int


@dataclass(frozen=True, slots=True)
class Version:
    """A version as `version` shows it.

    Attributes:
        parent: Zero for a genesis.
        roots: keccak256(abi.encode(Roots)).
        outside_round: Published by the owner and not the result of a round (true for a genesis too).
    """

    known: bool
    parent: Digest
    roots: bytes
    outside_round: bool
    deprecated: bool


@dataclass(frozen=True, slots=True)
class Round:
    """A round as `round` shows it.

    Attributes:
        challenge_deadline: Zero until a quorum agrees.
        plan_index: Entry of the plan history this round runs under.
        attested: At least one result has been attested.
        running_hash: Hash chain over the commitments, with their number, see `commit_update`.
        result_hash: keccak256(abi.encode(Result)) that a quorum attested; zero before.
        commitments: Commitments so far.
        ended_early: Commits ended before their time, since everybody had committed, or enough had.
        extended: The challenge window has been moved, which happens once.
        unexpelled: Attesters of results that were made void, who have not been expelled yet.
    """

    commit_deadline: int
    publish_deadline: int
    aggregate_deadline: int
    challenge_deadline: int
    weight_cap: int
    quorum: int
    plan_index: int
    cancelled: bool
    attested: bool
    finalized: bool
    running_hash: bytes
    result_hash: bytes
    commitments: int
    ended_early: bool
    extended: bool
    unexpelled: int


@dataclass(frozen=True, slots=True)
class Counted:
    """What a counted root hashes: root == sha256(0x02 ‖ uint64 big-endian count ‖ inner)."""

    count: int
    inner: bytes


@dataclass(frozen=True, slots=True)
class PlacedSegment:
    """A run of coordinates, at its place in the segments' root. Its leaf is the packed encoding of first, length,
    exponent and kind. `Segment` in the ABI.

    Attributes:
        exponent: e: updates are grid values of the delta divided by 2^e.
    """

    counted: Counted
    index: int
    first: int
    length: int
    exponent: int
    kind: SegmentKind
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Commitment:
    """What a participant committed."""

    participant: Address
    digest: Digest
    tensor_root: Root
    weight: int
    steps: int


@dataclass(frozen=True, slots=True)
class Opening:
    """A leaf of a counted root, with its RFC 9162 inclusion proof from the leaf's sibling up."""

    counted: Counted
    leaf: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Before:
    """What a coordinate of version and state is computed from. State openings are empty where the rules have none, or
    the parent's state is the initial one.
    """

    coordinate: int
    segment: PlacedSegment
    parent: Opening
    aggregate: Opening
    state: Opening


@dataclass(frozen=True, slots=True)
class Listed:
    """A leaf of the contributions root is the abi.encode of this: a commitment, and its factor in the sum.
    `Contribution` in the ABI.
    """

    participant: Address
    digest: Digest
    tensor_root: Root
    weight: int
    steps: int
    factor: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step of adding up: a contribution and, unless only its numbers are added, its chunk."""

    contribution: Listed
    chunk: Opening


@dataclass(frozen=True, slots=True)
class Middle:
    """Where the values of a coordinate lie, for rules that order them: median, trimmed mean, Bulyan.

    Attributes:
        least: Integers that the challenger says are the ends of what is not left out. Zero for a fold.
        below: Values so far, by where they lie.
    """

    least: int = 0
    greatest: int = 0
    below: int = 0
    at_least: int = 0
    at_greatest: int = 0
    above: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """Where the values of a coordinate lie, for rules that take those nearest to the median: Bulyan. With M twice the
    median, the window is from `least` to M - least; zeros for other rules.

    Attributes:
        least: Integer that the challenger says is as far below the median as the farthest value that is not left out is
            from it.
        within: Values so far: strictly within, and at each end.
    """

    least: int = 0
    within: int = 0
    at_least: int = 0
    at_greatest: int = 0


@dataclass(frozen=True, slots=True)
class Sum:
    """How far adding up has come. The first step is given zeros and no peaks, but for each `least` and `greatest`.

    Attributes:
        next: Contributions added.
        sum: Of factor times grid integer; for columns, of the grid integers between `least` and `greatest`; for select
            columns, of the selected ones strictly within the window.
        middle: For columns, from the least to the greatest value that is not left out; for select columns, the two in
            the middle of the selected, which are one for an odd number.
        peaks: Roots of the perfect subtrees of the contributions so far, largest first.
    """

    next: int = 0
    weight: int = 0
    steps: int = 0
    factor: int = 0
    sum: int = 0
    middle: Middle = Middle()
    window: Window = Window()
    peaks: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Demanded:
    """A leaf that attesters are to show.

    Attributes:
        root: The counted root it is a leaf of; of a head, its digest.
        entry_bytes: Bytes of what that root counts, and how many of them a leaf holds: 4 and 256 for values, 8 and as
            many states as belong to whole coordinates for a state, 1 entry for a contributions root, 32 and one entry a
            contribution for inner products, 0 and 0 for a head.
    """

    round_id: RoundId
    tally: bytes
    root: Root
    entry_bytes: int
    entries: int
    index: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A demanded leaf, and what shows it."""

    demanded: Demanded
    opening: Opening


@dataclass(frozen=True, slots=True)
class Demand:
    """How a demand stands.

    Attributes:
        deadline: First second in which it is too late to answer in time; 0 for no such demand.
        late_deadline: First second in which it is too late to answer at all: the deadline, where the plan gives no late
            period.
        closed: Answered, or given up.
    """

    demander: Address
    deposit: int
    deadline: int
    late_deadline: int
    closed: bool
    answered: bool


@dataclass(frozen=True, slots=True)
class OpenDemands:
    """What has been demanded of one tally and is neither shown nor given up, and what late answers cost.

    Attributes:
        deposits: Their deposits, wei.
        late_burnt: Burnt of its attesters' bonds by late answers, wei; at most half of what the plan asks of all of
            them.
    """

    count: int
    deposits: int
    late_burnt: int


@dataclass(frozen=True, slots=True)
class Conviction:
    """By what a result was convicted, and who has shown the earliest seal of it.

    Attributes:
        claim: keccak256(abi.encode(roundId, tally, part, index)).
        order: Seals made later do not count.
        reveal_deadline: First second in which seals can no longer be revealed.
        leader: Who revealed the earliest seal.
    """

    claim: bytes
    fault: Fault
    order: int
    reveal_deadline: int
    leader: Address
    leader_order: int


@dataclass(frozen=True, slots=True)
class Bond:
    """What an aggregator has deposited in a model, wei, and what holds it.

    Attributes:
        locked_round: The last round attested with it; 0 for none.
    """

    amount: int
    locked_round: int


@dataclass(frozen=True, slots=True)
class Target:
    """A result in its challenge window."""

    model_id: ModelId
    number: int
    result: Result


@dataclass(frozen=True, slots=True)
class Basis:
    """What a result is held against: the rules it was made by, and the roots of the version it was made of."""

    rules: bytes
    parent: Roots


@dataclass(frozen=True, slots=True)
class ScoreTerms:
    """How a model's results are scored: what its owner asks of validators.

    Attributes:
        minimum: With fewer revealed scores a result has none. 1..MAX_VALIDATORS; 0 where the owner has set nothing.
        commit_duration: Seconds in which scores are committed, from the first commitment on.
        reveal_duration: Seconds after that in which they are revealed.
    """

    minimum: int
    commit_duration: int
    reveal_duration: int


@dataclass(frozen=True, slots=True)
class Scoring:
    """The scores of one result, as `scoring` shows them.

    Attributes:
        commit_deadline: Both zero before the first commitment. As with rounds, a deadline is the first second after its
            window.
        minimum: As the owner's terms said when the first score was committed.
        counted: Whether `median` counts: the reveals are over, and they are enough.
        median: Of the revealed scores; of an even number the mean of the middle two, rounded down. Zero unless
            `counted`.
    """

    commit_deadline: int
    reveal_deadline: int
    minimum: int
    commitments: int
    reveals: int
    counted: bool
    median: int


@dataclass(frozen=True, slots=True)
class Membership:
    """A contribution at its place in the contributions root."""

    counted: Counted
    index: int
    contribution: Listed
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class UpdateRow:
    """A row of an update: the chunks of 4096 coordinates, the last row's of what is left.

    Attributes:
        counted: Of the update's root.
        values: The chunks, one after the other.
        proof: From the sibling of the row's subtree up.
    """

    membership: Membership
    counted: Counted
    values: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """What shows a false inner product of two contributions: one row of both, and the sums before and after it.

    Attributes:
        sums_before: Of the left contribution: the leaf of the row before, ignored for the first row, and of this one.
        finest: The segment that gives the unit; ignored where there is none.
        segments: Those that the row's coordinates stand in, in order.
    """

    row: int
    left: UpdateRow
    right: UpdateRow
    sums_before: Opening
    sums: Opening
    finest: PlacedSegment
    segments: tuple[PlacedSegment, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selection follows from.

    Attributes:
        contributions: All contributions, in order.
        products: The leaves of the last row, one after the other: K * K words.
        peaks: Roots of the perfect subtrees of the leaves before, largest first.
    """

    contributions: tuple[Listed, ...]
    products: bytes
    peaks: tuple[bytes, ...]
