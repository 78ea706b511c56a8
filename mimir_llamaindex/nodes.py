"""LlamaIndex's nodes as memories, and back.

The node's text is the memory's content, its metadata the memory's metadata, its id the key, its
source document the thread, so that chunks of one document are neighbours. What else it holds, with
its class and the bytes of its media, is sealed beside the text as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from llama_index.core.schema import (
    BaseNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from pydantic_core import to_jsonable_python

from mimir_core import Item, Memory, Namespace
from mimir_core.errors import InvalidArgument, InvalidMetadata, InvalidText, InvalidVector
from mimir_llamaindex.filters import DOCUMENT, field_name
from mimir_llamaindex.vaults import name_of

__all__ = ["from_memory", "key_of", "media_of", "to_item"]

_MARK: Final = b'{"mimir_llamaindex":1,'
_NO_TEXT: Final = "\N{MIDDLE DOT}"
"""What stands for a text without visible characters, as an image's: it has no words to find."""

_DIGEST: Final = "sha256:"
_SHOWN_NAME: Final = 64  # characters of a field's name in an error


def key_of(name: str) -> str:
    """The key, or thread, of a node's or document's id: itself, or a digest if it cannot be one.

    Raises:
        InvalidArgument: it is no text.
    """
    if not isinstance(name, str):
        raise InvalidArgument("the id of a node or document is a text")
    return name_of(name, _DIGEST)


def to_item(node: BaseNode, namespace: Namespace) -> Item:
    """The memory of a node.

    Raises:
        InvalidVector: it has no embedding.
        InvalidArgument, InvalidMetadata, InvalidText: something in it cannot be stored.
    """
    if not isinstance(node, BaseNode):
        raise InvalidArgument("a vector store takes nodes")
    if node.embedding is None:
        raise InvalidVector("a node has no embedding", hint="add it through an index")
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    visible = bool(text.strip())
    metadata = {field_name(key): value for key, value in _plain(node.metadata).items()}
    document = _document(node)
    if document is not None:
        metadata[DOCUMENT] = document
    return Item(
        text if visible else _NO_TEXT,
        namespace=namespace,
        key=key_of(node.node_id),
        thread=None if document is None else key_of(document),
        metadata=metadata,
        vector=node.embedding,
        attachment=_sealed(node, visible and getattr(node, "text", None) == text),
    )


def from_memory(memory: Memory) -> BaseNode:
    """The node of a memory: what was stored, or a text node of a memory that is none of ours."""
    data = memory.attachment
    if data is None or not data.startswith(_MARK):
        return _foreign(memory)
    packed = json.loads(data)
    if packed.pop("text_is_content"):
        packed["node"]["text"] = memory.text
    return _unpacked(packed)


def media_of(node: BaseNode) -> dict[str, bytes]:
    """The bytes of a node's media by field: what a dump leaves out."""
    found = {name: getattr(node, name) for name in type(node).model_fields}
    return {
        name: media.data
        for name, media in found.items()
        if isinstance(media, MediaResource) and media.data is not None
    }


def _document(node: BaseNode) -> str | None:
    try:
        return node.ref_doc_id
    except ValueError:
        raise InvalidArgument("a node has one source document at most") from None


def _foreign(memory: Memory) -> TextNode:
    """A memory that something else stored; its thread is its source."""
    node = TextNode(
        id_=memory.key or memory.id, text=memory.text, metadata=_plain(dict(memory.metadata))
    )
    if memory.thread is not None:
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=memory.thread)
    return node


def _plain(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata in the types of JSON. Raises InvalidMetadata, which names the field."""
    try:
        plain: dict[str, Any] = to_jsonable_python(metadata, inf_nan_mode="constants")
    except Exception:  # a caller's own class may raise anything, and show the value
        bad = next((name for name, value in metadata.items() if not _is_plain(value)), "")
        raise InvalidMetadata(
            f"metadata[{bad[:_SHOWN_NAME]!r}]: a value of a type that cannot be stored"
        ) from None
    return plain


def _is_plain(value: object) -> bool:
    try:
        to_jsonable_python(value)
    except Exception:  # as above
        return False
    return True


def _sealed(node: BaseNode, text_is_content: bool) -> bytes:
    without = {"embedding", "text"} if text_is_content else {"embedding"}
    try:
        body = {"text_is_content": text_is_content, **_packed(node, without)}
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        return _MARK + text[1:].encode()
    except UnicodeEncodeError:
        raise InvalidText("a node holds surrogates, which UTF-8 cannot encode") from None
    except Exception:  # a caller's own class may raise anything, and show the value
        raise InvalidArgument("a node holds something that cannot be stored") from None


def _packed(node: BaseNode, without: set[str]) -> dict[str, Any]:
    """Class and fields of a node, with the media bytes that a dump leaves out."""
    fields = node.model_dump(mode="json", exclude=without)
    for name, data in media_of(node).items():
        fields[name]["data"] = data.decode("ascii")  # it is in base64
    packed: dict[str, Any] = {"class": _names(type(node)), "node": fields}
    if isinstance(node, IndexNode) and isinstance(node.obj, BaseNode):
        fields["obj"] = None
        packed["obj"] = _packed(node.obj, set())
    return packed


def _unpacked(packed: dict[str, Any]) -> BaseNode:
    fields = packed["node"]
    node = _class(packed["class"], fields.get("class_name")).from_dict(fields)
    if "obj" in packed and isinstance(node, IndexNode):
        node.obj = _unpacked(packed["obj"])
    return node


def _names(kind: type[BaseNode]) -> list[str]:
    """The node's class and those it descends from, nearest first."""
    ours = [each for each in kind.__mro__ if issubclass(each, BaseNode) and each is not BaseNode]
    return [f"{each.__module__}.{each.__qualname__}" for each in ours]


def _class(names: list[str], class_name: str | None) -> type[BaseNode]:
    """The loaded class of this name, or else of the nearest ancestor: nothing is imported."""
    known = _FRAMEWORK if names[0] in _FRAMEWORK else _loaded()
    for name in names:
        if name in known:
            return known[name]
    alike = (kind for kind in known.values() if kind.class_name() == class_name)
    return next(alike, TextNode)


def _loaded() -> dict[str, type[BaseNode]]:
    """Every class of nodes by name; of one that was defined again, as in a notebook, the newest."""
    kinds = _descendants(BaseNode)  # type: ignore[type-abstract]  # only its subclasses matter
    return {_names(kind)[0]: kind for kind in kinds}


def _descendants(kind: type[BaseNode]) -> Iterator[type[BaseNode]]:
    for each in kind.__subclasses__():
        yield each
        yield from _descendants(each)


_FRAMEWORK: Final = {
    name: kind for name, kind in _loaded().items() if name.startswith("llama_index.core.schema.")
}
