"""Segments: catalog columns and terms of 1,024 nodes as one blob (FORMAT.md, section 10)."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from mimir_core.encoding import pack, unpack
from mimir_core.errors import VaultDamaged
from mimir_core.index.analysis import ANALYSIS
from mimir_core.index.catalog_columns import CatalogColumns, FieldColumn
from mimir_core.index.terms import TermColumns

SEGMENT_NODES = 1024
SEGMENT_PARTS = 16_384
"""Blocks a segment may take, 266 MB: terms of a thousand long documents are a few megabytes."""

_CATALOG_ARRAYS = {
    "prefix": "<u8",
    "size": "<u4",
    "gap": "<u4",
    "time": "<i8",
    "lamport": "<u8",
    "erased": "u1",
    "namespace_code": "<i4",
    "thread_code": "<i4",
    "parent_offsets": "<u4",
    "parent_kind": "u1",
    "parent_ordinal": "<u4",
}
_CATALOG_LISTS = ("threads", "thread_names", "keys")
_TERM_ARRAYS = {"offsets": "<u4", "codes": "<u4", "counts": "u1", "lengths": "<u4"}
_LARGEST = 1 << 28


def encode_segment(catalog: CatalogColumns, terms: TermColumns) -> bytes:
    """Encodes the columns of a run of nodes; both runs have the same length."""
    value: dict[str, Any] = {
        name: _bytes(getattr(catalog, name), dtype) for name, dtype in _CATALOG_ARRAYS.items()
    }
    value.update({name: getattr(catalog, name) for name in _CATALOG_LISTS})
    value["namespaces"] = catalog.namespaces
    value["fields"] = {
        name: [column.values, _bytes(column.codes, "<i4")]
        for name, column in catalog.fields.items()
    }
    value["analysis"] = ANALYSIS
    value["vocabulary"] = terms.vocabulary
    for name, dtype in _TERM_ARRAYS.items():
        value[f"term_{name}"] = _bytes(getattr(terms, name), dtype)
    return zlib.compress(pack(value))


def decode_segment(blob: bytes) -> tuple[CatalogColumns, TermColumns]:
    """Decodes a segment.

    Raises:
        VaultDamaged: if it is not one, or its terms were cut by another analysis; the caller
            rebuilds it from the log.
    """
    try:
        value = unpack(_inflate(blob))
        if value["analysis"] != ANALYSIS:
            raise VaultDamaged("a segment's terms were made by another analysis")
        columns: dict[str, Any] = {
            name: np.frombuffer(value[name], t) for name, t in _CATALOG_ARRAYS.items()
        }
        columns.update({name: value[name] for name in _CATALOG_LISTS})
        fields = {
            name: FieldColumn(values, np.frombuffer(codes, "<i4"))
            for name, (values, codes) in value["fields"].items()
        }
        catalog = CatalogColumns(
            **columns,
            namespaces=[tuple(labels) for labels in value["namespaces"]],
            fields=fields,
        )
        term_arrays = {
            name: np.frombuffer(value[f"term_{name}"], t) for name, t in _TERM_ARRAYS.items()
        }
        return catalog, TermColumns(vocabulary=value["vocabulary"], **term_arrays)
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise VaultDamaged("a segment cannot be decoded") from error


def _inflate(blob: bytes) -> bytes:
    inflater = zlib.decompressobj()
    data = inflater.decompress(blob, _LARGEST)
    if not inflater.eof or inflater.unconsumed_tail:
        raise ValueError("segment too large or truncated")
    return data


def _bytes(array: npt.NDArray[Any], dtype: str) -> bytes:
    return array.astype(dtype, copy=False).tobytes()
