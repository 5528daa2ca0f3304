"""``scoville models``: the models that have names."""

__all__ = ["run"]


def run():
    """List the models that have names."""
    from ..checkpoint.models import MODELS, cached_path

    for model in MODELS.values():
        state = "" if model.package is None else " (fetched)" if cached_path(model).exists() else " (not fetched yet)"
        print(f"{model.name:<10}{model.doc}{state}")
