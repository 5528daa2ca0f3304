"""Settings that no number of `Model` comes from: those that do not touch the arithmetic, and those that may be neutral.

Whatever is neither of these nor read is refused. Where to look: transformers' ``configuration_utils.py``, its
``generation/configuration_utils.py`` and each family's configuration; ``Keys`` of the package gguf's ``constants.py``.
"""

import math
from dataclasses import dataclass

__all__ = ["GGUF_GLOBAL", "GGUF_HARMLESS", "GGUF_METADATA", "GGUF_NEUTRAL", "HUGGINGFACE_HARMLESS",
           "HUGGINGFACE_NEUTRAL", "Neutral"]


@dataclass(frozen=True)
class Neutral:
    """A setting that has no lowering, and the values with which it does nothing.

    Parameters
    ----------
    what : what any other value asks for, as errors say it.
    values : the values, or a function of `Model` that gives one.
    """

    what: str
    values: tuple

    def allows(self, value, model):
        """Whether a value does nothing; numbers that a file rounded to FP32 are equal to what they were."""
        for each in self.values:
            each = each(model) if callable(each) else each
            number = isinstance(each, (int, float)) and isinstance(value, (int, float))
            if isinstance(each, bool) == isinstance(value, bool) and (
                    math.isclose(value, each, rel_tol=1e-6) if number else value == each):
                return True
        return False


def _head_dim(model):
    return model.head_dim


def _yarn(model):
    """What yarn_ext_factor is where nothing is said: 1 with yarn, else 0."""
    return int(model.rope_scaling is not None and model.rope_scaling.kind == "yarn")


_EXPERTS, _PARTIAL = "mixtures of experts", "rotary positions over a part of the head"
_OFF = (0, False)

# What only training, the text, the run or the file's history has to do with.
HUGGINGFACE_HARMLESS = frozenset("""
    model_type architectures transformers_version _name_or_path name_or_path _commit_hash dtype torch_dtype use_bfloat16
    auto_map unsloth_version unsloth_fixed tokenizer_class task_specific_params finetuning_task problem_type
    id2label label2id num_labels prefix torchscript tf_legacy_loss
    attention_dropout hidden_dropout initializer_range use_cache pretraining_tp chunk_size_feed_forward
    _attn_implementation attn_implementation _attn_implementation_autoset _experts_implementation
    output_attentions output_hidden_states return_dict is_decoder gradient_checkpointing
    bos_token_id pad_token_id sep_token_id unk_token_id mask_token_id cls_token_id decoder_start_token_id
    max_length max_new_tokens min_length min_new_tokens early_stopping max_time do_sample num_beams num_beam_groups
    diversity_penalty temperature top_k top_p top_h min_p typical_p epsilon_cutoff eta_cutoff penalty_alpha
    repetition_penalty encoder_repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size
    bad_words_ids force_words_ids forced_bos_token_id forced_eos_token_id remove_invalid_values
    exponential_decay_length_penalty suppress_tokens begin_suppress_tokens num_return_sequences output_scores
    output_logits return_dict_in_generate renormalize_logits guidance_scale sequence_bias token_healing
    stop_strings cache_implementation max_window_layers
""".split())

HUGGINGFACE_NEUTRAL = {
    "partial_rotary_factor": Neutral(_PARTIAL, (1,)),
    "quantization_config": Neutral("quantised weights (quantization_config)", ()),
    "pruned_heads": Neutral("pruned heads", ({},)),
    "is_encoder_decoder": Neutral("an encoder", (False,)),
    "add_cross_attention": Neutral("cross attention", (False,)),
    "cross_attention_hidden_size": Neutral("cross attention", ()),
    "tie_encoder_decoder": Neutral("an encoder", (False,)),
    "per_layer_config": Neutral("different settings in each layer", ({},)),
    "use_mrope": Neutral("rotary positions in several dimensions", (False,)),
    "layer_types": Neutral("layers of several kinds", (lambda model: ["full_attention"] * model.layers,
                                                      lambda model: ["sliding_attention"] * model.layers)),
    "transformers_weights": Neutral("weights in a file of another name", ("model.safetensors",)),
}

# Behind the architecture's name and a dot.
GGUF_HARMLESS = frozenset("""
    rope.scaling.finetuned attention.layer_norm_epsilon attention.group_norm_epsilon attention.group_norm_groups
""".split())

GGUF_NEUTRAL = {
    **{f"expert_{key}": Neutral(_EXPERTS, _OFF) for key in (
        "count", "used_count", "shared_count", "group_count", "group_used_count", "feed_forward_length",
        "shared_feed_forward_length", "chunk_feed_forward_length", "weights_scale", "weights_norm", "gating_func",
        "group_scale")},
    "experts_per_group": Neutral(_EXPERTS, _OFF), "moe_every_n_layers": Neutral(_EXPERTS, _OFF),
    "moe_latent_size": Neutral(_EXPERTS, _OFF), "interleave_moe_layer_step": Neutral(_EXPERTS, _OFF),
    "router_logit_softcapping": Neutral(_EXPERTS, _OFF),
    "rope.scaling.alpha": Neutral("RoPE scaling", _OFF),
    "rope.scaling.yarn_log_multiplier": Neutral("RoPE scaling", _OFF),
    "rope.scaling.yarn_ext_factor": Neutral("RoPE scaling", (_yarn, -1)),
    "rope.scaling.yarn_attn_factor": Neutral("RoPE scaling", (1,)),
    "rope.dimension_count_swa": Neutral(_PARTIAL, (lambda model: model.rotary,)),
    "rope.freq_base_swa": Neutral("another rotary base in some layers", (lambda model: model.rope_theta,)),
    "attention.value_length": Neutral("heads of v unlike those of k", (_head_dim,)),
    "attention.key_length_swa": Neutral("different heads in some layers", (_head_dim,)),
    "attention.value_length_swa": Neutral("different heads in some layers", (_head_dim,)),
    "attention.sliding_window_pattern": Neutral("a sliding window in some layers", (0, 1)),
    "attention.shared_kv_layers": Neutral("keys and values of another layer", _OFF),
    "attention.scale": Neutral("a scale of attention's own", (0, lambda model: model.head_dim ** -0.5)),
    "attention.output_scale": Neutral("a scale of attention's output", (0, 1)),
    "attention.temperature_length": Neutral("attention's temperature", _OFF),
    "attention.temperature_scale": Neutral("attention's temperature", _OFF),
    "attention.max_alibi_bias": Neutral("ALiBi positions", _OFF),
    "attention.clamp_kqv": Neutral("clamping of q, k and v", _OFF),
    "attention.causal": Neutral("attention that is not causal", (True,)),
    "attn_logit_softcapping": Neutral("soft capping of attention", _OFF),
    "final_logit_softcapping": Neutral("soft capping of logits", _OFF),
    "logit_scale": Neutral("a scale of the logits", (0, 1)),
    "embedding_scale": Neutral("a scale of the embedding", (0, 1)),
    "residual_scale": Neutral("a scale of the residual", (0, 1)),
    "embedding_length_out": Neutral("another size of the output", (lambda model: model.hidden,)),
    "leading_dense_block_count": Neutral(_EXPERTS, (0, lambda model: model.layers)),
    "nextn_predict_layers": Neutral("layers that predict further tokens", _OFF),
    "use_parallel_residual": Neutral("attention and FFN side by side", (False,)),
    "tensor_data_layout": Neutral("another order of rows", ("reference", "Meta AI original pth")),
    "pooling_type": Neutral("pooling (an embedding model)", (0,)),
    "swin_norm": Neutral("another norm", (False,)),
    "rescale_every_n_layers": Neutral("rescaling between layers", _OFF),
}

# Whole keys that say what the file is.
GGUF_GLOBAL = {
    "general.type": Neutral("a file that is no model (an adapter, or part of one)", ("model",)),
    "general.quantization_version": Neutral("blocks of another version", (2,)),
}
# Beginnings of keys about the file, the text or its parts, which no model's arithmetic reads.
GGUF_METADATA = ("general.", "tokenizer.", "quantize.", "imatrix.", "mradermacher.", "split.", "GGUF.")
