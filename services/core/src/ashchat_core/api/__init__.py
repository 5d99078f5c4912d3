"""The Kubernetes API of AshChat: the words that the operator, the CLI and the tests share.

- `names`: group, version and kind, labels, annotations, the finalizer.
- `conditions`: condition types and their statuses.
- `reasons`: reasons of conditions, components and events.

Standard library only, so that every tool of the repository can import it. A member that is added
here appears in docs/reference/conditions.md or docs/operations/annotations.md; tests compare.
"""
