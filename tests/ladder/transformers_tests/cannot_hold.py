"""Which of transformers' tests of a model cannot hold, and why. None of them may pass, so that the lists stay true."""

# Of transformers' own Whisper as well, whose own test file, which is not distributed, puts others in their place.
OF_ANY_WHISPER = {
    "test_generation_tester_mixin_inheritance": "the tests of generate() lie in a folder that is not distributed; "
    "tests/ladder/test_generation.py stands in for them",
    "test_resize_tokens_embeddings": "gives the model input_ids; Whisper's are decoder_input_ids",
    "test_resize_embeddings_untied": "likewise",
}

# Of this project's classes alone.
OF_OUR_CLASSES = {
    "test_model_weights_reload_no_missing_tied_weights": "opens a checkpoint whose tensors were taken out; here it is "
    "refused, where transformers fills them with random numbers",
    "test_capture_outputs_decorator": "wants transformers' own way to collect outputs; older releases have none",
}

# Of those with second attentions.
OF_SECOND_ATTENTIONS = {
    "test_attention_outputs": "counts the outputs; there are secondary_attentions and gates more",
}
