"""LangChain's own suite for vector stores, with the user's embeddings and with the vault's."""

from __future__ import annotations

import pytest
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from mimir_core import Mimir
from mimir_langchain import MimirVectorStore


class TestWithEmbeddings(VectorStoreIntegrationTests):
    """The user's Embeddings, of six dimensions."""

    @pytest.fixture
    def vectorstore(self, mimir: Mimir) -> MimirVectorStore:
        return MimirVectorStore(mimir, self.get_embeddings())


class TestWithOwnEmbedder(VectorStoreIntegrationTests):
    """The vault's own embedder."""

    @pytest.fixture
    def vectorstore(self, mimir: Mimir) -> MimirVectorStore:
        return MimirVectorStore(mimir)
