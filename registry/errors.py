"""Exception hierarchy, sorted by who must act.

    CairnError
    ├── InputError            the caller: an invalid value, file or setting                       exit 2
    │   ├── FormError         malformed or non-canonical manifest, tensors, CID, CAR or RLP       exit 3
    │   ├── UnknownRule       a plan with rules unknown to this release                           exit 2
    │   └── IndexUnusable     an index file of a newer release, damaged or of another contract
    │       └── IndexInUse    an index file locked by another writer
    ├── ContentError          the content store                                                   exit 4
    │   ├── BlockNotFound     no store has the block, or none served it in time
    │   ├── BlockMismatch     bytes that do not hash to their CID: a lying peer or disk corruption
    │   ├── BlockTooLarge     more bytes than declared, or than a block may have
    │   └── StoreUnavailable  the store cannot be reached, or cannot write
    ├── ChainError            the chain or its node                                               exit 5
    │   ├── NodeUnavailable   the RPC node cannot be reached or does not answer
    │   ├── WrongChain        another chain id, or no Cairn contract at the address
    │   ├── FinalityBroken    a finalized block is no longer on the node's chain
    │   ├── TransactionFailed reverted, rejected or timed out; insufficient funds (NotEnoughMoney); or accepted by no
    │   │                     node (TransactionRefused)
    │   └── ContractError     the contract reverted; one subclass per custom error (registry.chain.contracts)
    ├── SignerError           a keystore, password or signer                                      exit 6
    ├── VerificationFailed    on-chain records and bytes disagree                                 exit 7
    ├── NobodysFile           a file that is no known version of any model                        exit 8
    └── NotDelivered          a command or webhook that did not take a notice                     exit 9

Messages state what was expected and what was got. Exit codes are those of the command line; 1 means an unexpected
error, 130 Ctrl-C.
"""

from __future__ import annotations

__all__ = [
    "BlockMismatch",
    "BlockNotFound",
    "BlockTooLarge",
    "CairnError",
    "ChainError",
    "ContentError",
    "ContractError",
    "FinalityBroken",
    "FormError",
    "IndexInUse",
    "IndexUnusable",
    "InputError",
    "NobodysFile",
    "NodeUnavailable",
    "NotDelivered",
    "SignerError",
    "StoreUnavailable",
    "NotEnoughMoney",
    "TransactionFailed",
    "TransactionRefused",
    "UnknownRule",
    "VerificationFailed",
    "WrongChain",
]


class CairnError(Exception):
    """Base class of all errors that Cairn raises on purpose."""

    exit_code = 1


class InputError(CairnError):
    """The caller gave an invalid value, file or setting."""

    exit_code = 2


class FormError(InputError):
    """Malformed or non-canonical bytes."""

    exit_code = 3


class UnknownRule(InputError):
    """A plan uses rules unknown to this release, so results under it cannot be judged."""


class IndexUnusable(InputError):
    """The index file was written by a newer release, is damaged, or follows another contract."""


class IndexInUse(IndexUnusable):
    """The index file is locked by another writer."""


class ContentError(CairnError):
    """A content store operation failed."""

    exit_code = 4


class BlockNotFound(ContentError):
    """No store has the block, or none served it in time."""


class BlockMismatch(ContentError):
    """Bytes that do not hash to the requested CID."""


class BlockTooLarge(ContentError):
    """More bytes than declared, or than a block may have."""


class StoreUnavailable(ContentError):
    """The store cannot be reached, or cannot write."""


class ChainError(CairnError):
    """The chain or its node failed."""

    exit_code = 5


class NodeUnavailable(ChainError):
    """The RPC node cannot be reached or does not answer."""


class WrongChain(ChainError):
    """Another chain id than expected, or no Cairn contract at the address."""


class FinalityBroken(ChainError):
    """A finalized block is no longer on the node's chain."""


class TransactionFailed(ChainError):
    """A transaction was reverted, rejected or timed out, or the account cannot pay for it."""


class NotEnoughMoney(TransactionFailed):
    """Insufficient funds for the transaction's maximum cost; nothing was sent."""


class TransactionRefused(TransactionFailed):
    """The node takes no bid for a transaction; it was given up, and its nonce is free."""


class ContractError(ChainError):
    """The contract reverted; subclasses carry the custom error's name and fields."""


class SignerError(CairnError):
    """A keystore cannot be opened, or a signer cannot or will not sign."""

    exit_code = 6


class VerificationFailed(CairnError):
    """On-chain records and bytes disagree."""

    exit_code = 7


class NobodysFile(CairnError):
    """A file that is no version of any model in the index."""

    exit_code = 8


class NotDelivered(CairnError):
    """A command or webhook did not take a notice."""

    exit_code = 9
