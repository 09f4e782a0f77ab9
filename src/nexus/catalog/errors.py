"""What the catalog refuses."""

from nexus.kit.errors import Conflict, InvalidRequest, NotFound


class OverlappingPrice(Conflict):
    """Another price of the same subject holds in this time."""

    code = "overlapping_price"


class AlreadyInCatalog(Conflict):
    """The catalog has it already."""

    code = "already_in_catalog"


class UnknownPrice(NotFound):
    """There is no such price here."""

    code = "unknown_price"


class UnknownProvider(NotFound):
    """There is no such provider in the catalog."""

    code = "unknown_provider"


class UnknownConflict(NotFound):
    """There is no such conflict, or it is resolved."""

    code = "unknown_conflict"


class InvalidPrice(InvalidRequest):
    """The price is not valid."""

    code = "invalid_price"
