"""`MimirCache`: what models answered, sealed, so that the same question is not paid for twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.messages import message_to_dict, messages_from_dict
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    Generation,
    GenerationChunk,
)

from mimir_core import Mimir, Namespace, retry_conflicts
from mimir_core.errors import InvalidArgument, NotSerializable
from mimir_langchain import blobs
from mimir_langchain.vaults import digest, namespace_in

__all__ = ["MimirCache"]

_KINDS: dict[str, type[Generation]] = {
    kind.__name__: kind
    for kind in (Generation, GenerationChunk, ChatGeneration, ChatGenerationChunk)
}


class MimirCache(BaseCache):
    """A cache of model answers; prompts are kept as digests only, answers sealed.

    An answer is stored as JSON and read back as generations and messages of langchain-core and
    nothing else: no other class is imported or made, and no secret is filled in from the
    environment. An entry that cannot be read back is a miss.

    Setup:
        ``pip install 'mimir-sealed[langchain]'``

    Key init args:
        mimir: An open `Mimir`; it stays the caller's to close.
        namespace: Where the answers lie, ("langchain", "cache") if not given.

    Instantiate:
        .. code-block:: python

            from langchain_core.globals import set_llm_cache

            set_llm_cache(MimirCache(mimir))

    Delete:
        `clear` erases all answers of the namespace for good.

    Async:
        Every method has an async twin that works in a worker thread.
    """

    def __init__(
        self, mimir: Mimir, *, namespace: Namespace | str = ("langchain", "cache")
    ) -> None:
        self._namespace = namespace_in(mimir, namespace)
        self._mimir = mimir

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """The answer to a prompt from a model so configured; None if there is none.

        Raises:
            VaultDamaged: what is stored was changed.
        """
        (record,) = blobs.read(self._mimir, [_key(prompt, llm_string)], self._namespace)
        return None if record is None else _opened(record)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Stores an answer, replacing and erasing an older one.

        An answer that holds what JSON cannot represent, or a generation or message of a class that
        langchain-core does not have, is not cached.

        Raises:
            InvalidArgument: the answer is no sequence of generations; nothing was written.
            VaultBusy, DiskFull, StorageFailed: nothing was written.
            OutcomeUnknown: the disk failed so late that it may have been.
            ScrubPending: stored, but old journal pages still hold the answer it replaced.
        """
        key, record = _key(prompt, llm_string), _sealed(return_val)
        if record is not None:
            items = blobs.cut(key, record, self._namespace)
            retry_conflicts(partial(blobs.store, self._mimir, items, self._namespace))

    def clear(self, **kwargs: Any) -> None:
        """Erases all answers for good.

        Raises:
            InvalidArgument: for any argument, since none is known; nothing was erased.
            ScrubPending: erased, but old journal pages are not yet scrubbed.
        """
        if kwargs:
            raise InvalidArgument("clear takes no arguments: it erases the whole cache")
        self._mimir.forget(namespace=self._namespace)

    def __repr__(self) -> str:
        return "<MimirCache>"

    def __reduce__(self) -> NoReturn:
        raise NotSerializable("a cache over an open Mimir cannot be pickled or copied")


def _key(prompt: str, llm_string: str) -> str:
    if not isinstance(prompt, str) or not isinstance(llm_string, str):
        raise InvalidArgument("a prompt and a model's configuration are strings")
    return f"answer {digest(json.dumps([prompt, llm_string]))}"


def _sealed(answer: object) -> bytes | None:
    """An answer as JSON; None if it could not be read back as what it is."""
    if isinstance(answer, str) or not isinstance(answer, Sequence):
        raise InvalidArgument("an answer is a sequence of generations")
    for number, generation in enumerate(answer):
        if not isinstance(generation, Generation):
            raise InvalidArgument(f"generation {number}: an answer is a sequence of generations")
    try:
        record = json.dumps([_fields(generation) for generation in answer]).encode()
    except Exception:  # from code that comes with a value
        return None
    opened = _opened(record) or []
    return record if list(map(_classes, opened)) == list(map(_classes, answer)) else None


def _classes(generation: Generation) -> tuple[type, type]:
    return type(generation), type(getattr(generation, "message", None))


def _fields(generation: Generation) -> dict[str, Any]:
    fields = {"kind": type(generation).__name__, "info": generation.generation_info}
    if isinstance(generation, ChatGeneration):
        return {**fields, "message": message_to_dict(generation.message)}
    return {**fields, "text": generation.text}


def _opened(record: bytes) -> list[Generation] | None:
    """The answer of a record; None if there is none in it, so that the model is asked again."""
    try:
        return [_generation(fields) for fields in json.loads(record)]
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
        return None


def _generation(fields: dict[str, Any]) -> Generation:
    kind = _KINDS[fields["kind"]]
    if not issubclass(kind, ChatGeneration):
        return kind(text=fields["text"], generation_info=fields["info"])
    (message,) = messages_from_dict([fields["message"]])
    return kind(message=message, generation_info=fields["info"])
