"""What a stream's item is made of, as numbers that a simulation can be told."""

from amaranth.hdl import Shape, ShapeCastable
from amaranth.lib import data

__all__ = ["fields"]


def _flat(shape, prefix, offset):
    while isinstance(shape, ShapeCastable) and not isinstance(shape, data.Layout):
        shape = shape.as_shape()
    if isinstance(shape, data.StructLayout):
        return [found for name, field in shape
                for found in _flat(field.shape, f"{prefix}.{name}".strip("."), offset + field.offset)]
    return [(prefix, offset, Shape.cast(shape).width)]


def fields(component):
    """Stream to (name, offset, width) of its item's fields; a plain number's has no name."""
    return {"__".join(map(str, path[:-1])): _flat(member.shape, "", 0)
            for path, member, _ in component.signature.flatten(component) if path[-1] == "payload"}
