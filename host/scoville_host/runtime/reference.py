"""An independent float reference: the checkpoint's weights in Hugging Face transformers, FP32.

Nothing here uses the project's own importer, compiler or golden model, so that an error in those cannot hide here.
"""

import functools
from pathlib import Path

import numpy as np

__all__ = ["Reference", "load_reference"]


def _torch():
    """The optional packages torch and transformers."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise RuntimeError("the float reference needs torch and transformers: pip install 'scoville[float]'") from error
    transformers.logging.set_verbosity_error()
    return torch, transformers


class Reference:
    """A causal language model in FP32.

    Parameters
    ----------
    model : transformers model, already in evaluation mode
    """

    def __init__(self, model):
        self.model = model

    def logits(self, ids):
        """Logits after every position: float32 ``[len(ids), vocab]`` for token ids ``ids``."""
        torch, _ = _torch()
        with torch.inference_mode():
            return self.model(torch.as_tensor([list(map(int, ids))])).logits[0].float().numpy()

    def generate(self, ids, max_new_tokens, stop_ids=()):
        """Greedy continuation of `ids`: a list of at most `max_new_tokens` ids, the stop token included."""
        torch, _ = _torch()
        tokens, cache, step = [], None, list(map(int, ids))
        while len(tokens) < max_new_tokens and not (tokens and tokens[-1] in stop_ids):
            with torch.inference_mode():
                found = self.model(torch.as_tensor([step]), past_key_values=cache, use_cache=True)
            cache, step = found.past_key_values, [int(found.logits[0, -1].argmax())]
            tokens += step
        return tokens


def load_reference(path):
    """The float model of a Hugging Face checkpoint directory or of a GGUF file, as a `Reference`.

    Raises
    ------
    FileNotFoundError
        If `path` is neither.
    RuntimeError
        If torch or transformers are not installed.
    ValueError
        If a GGUF file holds an architecture other than ``llama`` and ``qwen2``, or scaled RoPE frequencies.
    """
    path = Path(path)
    if path.is_dir() and (path / "config.json").is_file():
        _, transformers = _torch()
        model = transformers.AutoModelForCausalLM.from_pretrained(path, local_files_only=True)
        return Reference(model.float().eval())
    if path.is_file():
        with open(path, "rb") as file:
            if file.read(4) == b"GGUF":
                return Reference(_from_gguf(path))
    raise FileNotFoundError(f"{path} is neither a checkpoint directory with config.json nor a GGUF file")


_CLASSES = {"llama": "Llama", "qwen2": "Qwen2"}
_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def _target(name):
    """The transformers name of a GGUF tensor."""
    if name in _TOP:
        return _TOP[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{_NAMES[part]}.{kind}"


def _halves(tensor, heads):
    """Rows of a GGUF projection (RoPE pairs side by side) in the order of transformers (halves of the head)."""
    dim = tensor.shape[0] // heads
    return tensor.reshape(heads, dim // 2, 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def _from_gguf(path):
    torch, transformers = _torch()
    import gguf

    reader = gguf.GGUFReader(path)

    @functools.cache
    def field(name, default=None):
        found = reader.get_field(name)
        if found is None and default is None:
            raise ValueError(f"{path.name} lacks {name}")
        return default if found is None else found.contents()

    kind = field("general.architecture")
    if kind not in _CLASSES:
        known = " and ".join(_CLASSES)
        raise ValueError(f"{path.name} has architecture {kind!r}; from GGUF, the reference reads {known}")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if field(f"{kind}.rope.scaling.type", "none") != "none" or "rope_freqs.weight" in tensors:
        raise ValueError(f"{path.name} scales its RoPE frequencies; from GGUF, the reference reads plain RoPE only")
    heads = field(f"{kind}.attention.head_count")
    kv_heads = field(f"{kind}.attention.head_count_kv", heads)
    hidden = field(f"{kind}.embedding_length")
    theta = field(f"{kind}.rope.freq_base", 10000.0)
    head_dim = field(f"{kind}.attention.key_length", hidden // heads)
    if any(field(f"{kind}.rope.{key}", plain) != plain for key, plain in (
            ("scaling.factor", 1), ("scale_linear", 1), ("scaling.attn_factor", 1), ("dimension_count", head_dim))):
        raise ValueError(f"{path.name} has rotary positions that the reference does not read from GGUF")
    make_config, make_model = (getattr(transformers, _CLASSES[kind] + part) for part in ("Config", "ForCausalLM"))
    config = make_config(
        vocab_size=int(tensors["token_embd.weight"].shape[1]),
        hidden_size=hidden,
        intermediate_size=field(f"{kind}.feed_forward_length"),
        num_hidden_layers=field(f"{kind}.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        max_position_embeddings=field(f"{kind}.context_length"),
        rms_norm_eps=field(f"{kind}.attention.layer_norm_rms_epsilon"),
        rope_theta=theta,  # transformers 4
        rope_parameters={"rope_type": "default", "rope_theta": theta},  # transformers 5
        tie_word_embeddings="output.weight" not in tensors,
    )
    state = {}
    for name, tensor in tensors.items():
        values = np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if kind == "llama" and ".attn_q." in name:
            values = _halves(values, heads)
        elif kind == "llama" and ".attn_k." in name:
            values = _halves(values, kv_heads)
        state[_target(name)] = torch.from_numpy(np.ascontiguousarray(values))
    with torch.device("meta"):
        model = make_model(config)
    model = model.to_empty(device="cpu")
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    model.tie_weights()
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if not (config.tie_word_embeddings and name == "lm_head.weight")]
    if missing or unexpected:
        raise ValueError(f"{path.name}: missing {missing}, unexpected {unexpected}")
    return model.float().eval()
