"""What can go wrong, sorted by who must act.

    CairnError
    ├── InputError            the caller: a value, file or setting is not what it must be        exit 2
    │   ├── FormError         bytes that claim to be a manifest, tensors, CID or CAR and are not  exit 3
    │   ├── UnknownRule       a plan with rules that this release does not know                   exit 2
    │   └── IndexUnusable     an index file that is of a newer release, damaged or of another contract
    │       └── IndexInUse    one that another process writes to
    ├── ContentError          the content store's side                                            exit 4
    │   ├── BlockNotFound     nobody has the block, or not within its time
    │   ├── BlockMismatch     bytes that do not hash to their name: somebody lies or a disk rots
    │   ├── BlockTooLarge     more bytes than the name's owner declared, or than a block may have
    │   └── StoreUnavailable  the store cannot be reached, or cannot write
    ├── ChainError            the chain's side                                                    exit 5
    │   ├── NodeUnavailable   the RPC node cannot be reached or does not answer
    │   ├── WrongChain        another chain id, or no contract of ours at the address
    │   ├── FinalityBroken    a block that was final is no longer on the node's chain
    │   ├── TransactionFailed sent and not carried out, or not sent: too little money for it (NotEnoughMoney), or no
    │   │                     node takes it (TransactionRefused)
    │   └── ContractError     the contract said no; one subclass per custom error (registry.chain.contracts)
    ├── SignerError           a keystore, password or signer                                      exit 6
    ├── VerificationFailed    the records and the bytes disagree                                  exit 7
    └── NobodysFile           a file that is no version of any model                              exit 8

Messages say what was expected and what came. Exit codes are those of the command line; 1 is left to the unexpected,
130 to Ctrl-C.
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
    """Base of every error Cairn raises on purpose."""

    exit_code = 1


class InputError(CairnError):
    """A value, file or setting the caller gave is not what it must be."""

    exit_code = 2


class FormError(InputError):
    """Bytes that are not the canonical form of what they claim to be."""

    exit_code = 3


class UnknownRule(InputError):
    """A plan with rules that this release does not know: nothing is said of what was made under it."""


class IndexUnusable(InputError):
    """An index file was written by a newer release, is damaged, or follows another contract."""


class IndexInUse(IndexUnusable):
    """An index file that another process writes to."""


class ContentError(CairnError):
    """A content store could not do what was asked."""

    exit_code = 4


class BlockNotFound(ContentError):
    """No store had the block, or none answered in time."""


class BlockMismatch(ContentError):
    """Bytes that do not hash to the CID they were asked for by."""


class BlockTooLarge(ContentError):
    """More bytes than were declared or than a block may have."""


class StoreUnavailable(ContentError):
    """The store cannot be reached, or cannot write."""


class ChainError(CairnError):
    """The chain, or the way to it, did not do what was asked."""

    exit_code = 5


class NodeUnavailable(ChainError):
    """The RPC node cannot be reached or does not answer."""


class WrongChain(ChainError):
    """Another chain id than expected, or no contract of ours at the address."""


class FinalityBroken(ChainError):
    """A block that was final is no longer on the node's chain."""


class TransactionFailed(ChainError):
    """A transaction was sent and not carried out, or could not be paid for."""


class NotEnoughMoney(TransactionFailed):
    """The account does not hold what a transaction may cost; nothing was sent."""


class TransactionRefused(TransactionFailed):
    """The node takes no bid for a transaction; it was given up, and its nonce is free."""


class ContractError(ChainError):
    """The contract refused; subclasses carry the custom error's name and fields."""


class SignerError(CairnError):
    """A keystore, password or signer does not serve."""

    exit_code = 6


class VerificationFailed(CairnError):
    """Records and bytes disagree."""

    exit_code = 7


class NobodysFile(CairnError):
    """A file that is no version of any model here: nothing is known of it."""

    exit_code = 8
