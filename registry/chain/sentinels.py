"""Sentinel arguments of challenges and demands, passed where the contracts ignore an argument."""

from __future__ import annotations

from registry.chain.contract_structs import Basis, Counted, Listed, Membership, Opening, Roots
from registry.types import ZERO32, Address, Digest, Root

__all__ = ["NOTHING", "NOWHERE", "NO_BASIS", "NO_COORDINATE"]

NO_COORDINATE = (1 << 64) - 1
"""No coordinate: only weights, steps and factors are added up."""
NO_BASIS = Basis(b"", Roots(Root(ZERO32), Root(ZERO32)))
"""No basis: the tree needs none."""
_NOBODY = Listed(Address(bytes(20)), Digest(ZERO32), Root(ZERO32), 0, 0, 0)
NOWHERE = Membership(Counted(0, ZERO32), 0, _NOBODY, ())
"""No membership: the tree is not a contribution's."""
NOTHING = Opening(Counted(0, ZERO32), b"", ())
"""No opening: there is nothing to open."""
