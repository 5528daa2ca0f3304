"""What can run, and what each was tested on: for `scoville models`. The facts stand beside families and formats."""

from .families import FAMILIES
from .gguf_blocks import GGUF_FORMS
from .models import MODELS, cached_path

__all__ = ["catalog"]

_DENSE = "host/test_dense.py::test_the_definition_agrees_with"
RANDOM = ("random models of odd shape, golden", "host/test_dense.py::test_golden_model_agrees_with_the_definition")
TRANSFORMERS = ("the same in transformers (by hand: needs torch)", f"{_DENSE}_transformers")
RTL = ("some of them in RTL, bit for bit", "host/test_dense.py::test_rtl")
LLAMA_CPP = ("the same in llama.cpp", f"{_DENSE}_llama_cpp")
BLOCKS = (("gguf's dequantisation, bit for bit, with extreme scales", "host/test_lossless.py::test_bit_for_bit"),
          ("the golden model and the RTL", "host/test_lossless.py::test_one_file_of_many_types"))
FLOATS = (("a directory and a GGUF file of each", "host/test_importers.py"),)


def catalog():
    """Models, families and formats.

    Returns
    -------
    dict with ``models`` (``name``, ``doc``, ``fetched``), ``families`` (``name``, ``huggingface``, ``gguf``: what the
    files call it, or None; ``rope_scalings``; ``tested``) and ``formats`` (``type``, ``runs_as``, ``tested``), where
    ``tested`` is a list of ``what`` and ``test``, under ``tb``
    """
    def tested(*parts):
        return [{"what": what, "test": test} for what, test in parts]

    def called(dialect):
        return dialect and dialect.architecture

    families = [{"name": family.name, "huggingface": called(family.huggingface), "gguf": called(family.gguf),
                 "rope_scalings": list(family.rope_scalings),
                 "tested": tested(RANDOM, RTL, TRANSFORMERS, *([LLAMA_CPP] if family.gguf else []), *family.tested)}
                for family in FAMILIES]
    formats = [{"type": kind, "runs_as": layout.form.name.lower(), "tested": tested(*BLOCKS, *layout.tested)}
               for kind, layout in GGUF_FORMS.items()]
    formats += [{"type": kind, "runs_as": "mxint8, or --weights; vectors and embeddings as floats",
                 "tested": tested(*FLOATS)} for kind in ("F32", "F16", "BF16")]
    models = [{"name": model.name, "doc": model.doc, "fetched": model.package is None or cached_path(model).exists()}
              for model in MODELS.values()]
    return {"models": models, "families": families, "formats": formats}
