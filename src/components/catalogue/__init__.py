"""The catalogue: one page per kind, generated from signatures, docstrings and measured models, for our parts and for plug-ins."""

from components.catalogue.page import index_page, kind_page

__all__ = ["index_page", "kind_page"]
