import torch

from worldloom.model.text.text_encoder import TextEncoder, tokenize


def test_words_hash_alike_everywhere_and_never_to_padding():
    tokens = tokenize(["A red room, a RED room"], 512, 8)[0]
    assert tokens[0] == tokens[3]
    assert tokens[1] == tokens[4]
    assert (tokens[:6] > 0).all()
    assert (tokens[6:] == 0).all()
    assert tokens[:3].tolist() == tokenize(["a red room"], 512, 3)[0].tolist()
    assert tokenize(["a red room"], 2, 4).tolist() == [[1, 1, 1, 0]]  # one bucket and padding


def test_long_prompts_are_cut_and_empty_ones_are_padding():
    tokens = tokenize(["one two three four", ""], 64, 3)
    assert tokens.shape == (2, 3)
    assert (tokens[0] > 0).all()
    assert not tokens[1].any()


def test_prompts_differ_once_embedded():
    torch.manual_seed(0)
    encoder = TextEncoder(64, 4, 8)
    one, other = encoder(tokenize(["stone hall", "green maze"], 64, 4))
    assert one.shape == (4, 8)
    assert not torch.allclose(one, other)
