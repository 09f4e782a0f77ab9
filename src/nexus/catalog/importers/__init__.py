"""Readers of public price lists. Each turns a file into one form (`types.ImportedBook`); none touches the database."""

from nexus.catalog.importers.types import (
    ImportedBook,
    ImportedComponent,
    ImportedModel,
    ImportedPrice,
    ImportedProvider,
    UnreadablePriceList,
)

__all__ = [
    "ImportedBook",
    "ImportedComponent",
    "ImportedModel",
    "ImportedPrice",
    "ImportedProvider",
    "UnreadablePriceList",
]
