"""Views over memories: catalog and filters, vector indexes, lexical index, fusion."""
