"""The catalogue: one page per kind, written from signatures, docstrings and measured models, for our parts and those of plug-ins alike."""

from components.catalogue.page import index_page, kind_page

__all__ = ["index_page", "kind_page"]
