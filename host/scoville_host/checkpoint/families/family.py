"""What a family of models is to the importers: names in both kinds of file, shapes, what settings may say."""

from dataclasses import dataclass, field
from fnmatch import fnmatch

__all__ = ["Dialect", "Family"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dialect:
    """How one kind of file speaks of a family.

    Parameters
    ----------
    architecture : the family's name: ``model_type`` of config.json, ``general.architecture`` of a GGUF file.
    keys : fields of `Model` and the settings that give them; in a GGUF file, behind the architecture's name and a dot.
    top : tensors outside the layers, by our name, and what the file calls them, without ``.weight``.
    layer : the same of a layer's tensors, with ``{}`` for the layer's number; a bias is called like its matrix.
    rope_layout : how the rows of q and k lie, see `Model`.
    ignored : patterns of names of tensors that a file may hold besides, and that are not read.
    prefix : what the file puts before the name of each setting.
    defaults : values of `Settings` where the file does not say, if they are not those of the schema.
    harmless : settings that do not touch the arithmetic.
    neutral : settings without a lowering, with the `Neutral` values that they may have; what is neither is refused.
    fused : matrices that lie in one tensor, one below the other, by the key of that tensor in `layer`.
    biases : fields of `Settings` that say whether matrices have biases, and which; None if any matrix may have one,
        where matrices not named have none but for `Family.biases`.
    """

    architecture: str
    keys: dict
    top: dict
    layer: dict
    rope_layout: str
    ignored: tuple = ()
    prefix: str = ""
    defaults: dict = field(default_factory=dict)
    harmless: frozenset = frozenset()
    neutral: dict = field(default_factory=dict)
    biases: dict | None = None
    fused: dict = field(default_factory=dict)

    def _whole(self, base):
        """What a matrix lies in, and all that lies there, in order."""
        return next(((whole, parts) for whole, parts in self.fused.items() if base in parts), (base, (base,)))

    def stored(self, name):
        """What the file calls a tensor of `Model.tensors`, or the one that holds it among others."""
        layer, _, part = name.rpartition(".")
        base = part.removesuffix("_bias")
        if layer:
            part, base = part.replace(base, whole := self._whole(base)[0]), whole
        place = self.layer[base].format(layer) if layer else self.top[base]
        return f"{place}.{'weight' if base == part else 'bias'}"

    def rows(self, model, name):
        """(first row of a tensor of `Model.tensors`, shape of the file's tensor that it lies in)."""
        layer, _, part = name.rpartition(".")
        base = part.removesuffix("_bias")
        shapes = [model.shape(f"{layer}.{part.replace(base, each)}") for each in self._whole(base)[1]] if layer \
            else [model.shape(name)]
        start = sum(shape[0] for shape in shapes[:self._whole(base)[1].index(base)]) if layer else 0
        return start, (sum(shape[0] for shape in shapes), *shapes[0][1:])

    def match(self, model, files):
        """Where the tensors of a model are among the names in a file.

        Returns
        -------
        (dict of our names to the file's, those that there are; name of a tensor that has no place, or None)
        """
        found = {name: stored for name in model.shapes() if (stored := self.stored(name)) in files}
        used = set(found.values())
        spare = (stored for stored in files
                 if stored not in used and not any(fnmatch(stored, pattern) for pattern in self.ignored))
        return found, next(spare, None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """A family of models.

    Shapes are texts of dimensions: names of numbers of `Model`, such as ``query hidden`` for ``[query, hidden]``.

    Parameters
    ----------
    name : what we call it.
    huggingface, gguf : `Dialect` of a kind of file, or None where such files do not have the family.
    top : shapes of the tensors outside the layers; there is no ``lm_head`` where it is tied to the embedding.
    vectors : shapes of a layer's vectors.
    matrices : shapes of a layer's matrices, in the order in which they run. Each may have a bias, of its rows' size.
    biases : matrices that always have one.
    activations : values of ``hidden_act`` that are the gate of the chip's PAIR stage.
    rope_scalings : kinds of RoPE scaling that config.json may ask for.
    partial_rotary : whether ``partial_rotary_factor`` may be below 1, where config.json knows it.
    tested : what the family was tested on besides random models (`catalog`): (what, test under ``tb``).
    """

    name: str
    huggingface: Dialect | None
    gguf: Dialect | None
    top: dict
    vectors: dict
    matrices: dict
    biases: tuple = ()
    activations: tuple = ("silu", "swish")
    rope_scalings: tuple = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")
    partial_rotary: bool = False
    tested: tuple = ()

    def shape(self, model, name):
        """The shape of one tensor of `shapes`."""
        layer, _, part = name.rpartition(".")
        tables = self.vectors | self.matrices if layer else self.top
        shape = tuple(getattr(model, dimension) for dimension in tables[part.removesuffix("_bias")].split())
        return shape[:1] if part.endswith("_bias") else shape

    def shapes(self, model):
        """The shape of each tensor of a `Model`, by name, a layer's biases behind its matrices."""
        def shape(text):
            return tuple(getattr(model, dimension) for dimension in text.split())

        shapes = {name: shape(text) for name, text in self.top.items() if name != "lm_head" or not model.tied}
        for n in range(model.layers):
            shapes |= {f"{n}.{name}": shape(text) for name, text in (self.vectors | self.matrices).items()}
            shapes |= {f"{n}.{name}_bias": shape(text)[:1] for name, text in self.matrices.items()}
        return shapes
