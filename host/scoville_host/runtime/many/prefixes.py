"""Which sequence begins as another one: a radix tree of token ids for each tenant, a page of tokens an edge."""

from dataclasses import dataclass, field

from scoville.config import PAGE_TOKENS

__all__ = ["Prefixes"]


@dataclass(eq=False)
class _Node:
    """The pages on the way from the root.

    Members
    -------
    edges : dict of a page's tokens to the `_Node` behind it
    holders : dict of the names that have all these pages, in the order in which they came to it, to None
    """

    edges: dict = field(default_factory=dict)
    holders: dict = field(default_factory=dict)


class Prefixes:
    """Sequences by their tokens. Only whole pages count, as the chip shares no others.

    A node is there while somebody holds it, so what is kept is at most a node for each page of each sequence. What one
    tenant has cannot be found by another: each has a tree of its own.
    """

    def __init__(self):
        self._roots, self._paths = {}, {}  # by tenant; by name (tenant, pages)

    def __contains__(self, name):
        return name in self._paths

    def __len__(self):
        """Nodes of all tenants."""
        stack, count = list(self._roots.values()), 0
        while stack:
            edges = stack.pop().edges
            count += len(edges)
            stack += edges.values()
        return count

    def add(self, tenant, name, tokens):
        """The sequence has these tokens; those that it had before are its first."""
        _, pages = self._paths.setdefault(name, (tenant, []))
        have = len(pages)
        pages += (tuple(tokens[start:start + PAGE_TOKENS])
                  for start in range(PAGE_TOKENS * have, len(tokens) - PAGE_TOKENS + 1, PAGE_TOKENS))
        if len(pages) > have:
            node = self._roots.setdefault(tenant, _Node())
            for index, page in enumerate(pages):
                node = node.edges.setdefault(page, _Node())
                if index >= have:
                    node.holders[name] = None

    def remove(self, name):
        """The sequence, or its pages, are gone. Nothing happens if it is not there."""
        tenant, pages = self._paths.pop(name, (None, []))
        node = self._roots.get(tenant)
        for page in pages:
            behind = node.edges[page]
            del behind.holders[name]
            if not behind.holders:  # nor has anybody what is behind it
                del node.edges[page]
                break
            node = behind
        if pages and not self._roots[tenant].edges:
            del self._roots[tenant]

    def find(self, tenant, tokens):
        """Who has most of the pages that these tokens begin with: (name, tokens shared), or (None, 0).

        Of several it is the one that has had them for longest: its pages are the first to be computed. One token at
        least is left over, as a sequence computes its last one itself.
        """
        node, found, shared = self._roots.get(tenant), None, 0
        for start in range(0, len(tokens) - PAGE_TOKENS, PAGE_TOKENS):
            node = node and node.edges.get(tuple(tokens[start:start + PAGE_TOKENS]))
            if node is None:
                break
            found, shared = next(iter(node.holders)), start + PAGE_TOKENS
        return found, shared
