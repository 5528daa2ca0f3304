"""Models as files hold them: named models, importers, weight formats, tokenizers."""
