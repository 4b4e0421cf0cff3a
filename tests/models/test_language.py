"""Motion language models: what ids mean, what may follow what, and that every way of reading is the same."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.conditions.request import Request
from kinema.corpora import Corpus
from kinema.models.codec.pipeline import MotionCodec
from kinema.models.language import backbone, tasks
from kinema.models.language.config import LanguageConfig, embedded
from kinema.models.language.data import LanguageTask, Sizes, Tokens, collate
from kinema.models.language.decoding import Answer, Decoder, Sampling, drawn
from kinema.models.language.model import LanguageModel, merged, trainable
from kinema.models.language.pipeline import LanguageGenerator
from kinema.models.language.reader import Llama, LlamaReader, TransformersReader
from kinema.models.language.vocabulary import Feature, Vocabulary, read_tokenizer, train_tokenizer
from kinema.models.weights import read_weights
from kinema.motion import Motion
from kinema.training import Trainer

PLACES, BITS = 3, 4
TINY = Sizes(32, 2)


def config_of(tokenizer, **more) -> LanguageConfig:
    config = LanguageConfig({}, "0" * 64, PLACES, BITS, 4, 30, tokenizer.get_vocab_size(), 0, 128, **more)
    return dataclasses.replace(config, backbone=embedded(config.size, config.context, 32, 2))


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    tokenizer = train_tokenizer(["a person walks to the left", "someone waves"], 300)
    return Vocabulary(tokenizer, config_of(tokenizer, features={"sensor": 5}))


@pytest.fixture(scope="module")
def model(vocabulary: Vocabulary) -> LanguageModel:
    torch.manual_seed(0)
    return loud(LanguageModel(vocabulary.config)).eval().requires_grad_(False)


def loud(model: LanguageModel) -> LanguageModel:
    """Weights so large that what a network reads makes a difference to what it says."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(6)
    return model


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("being-m0")
    request.getfixturevalue("random_being-m0")(found)
    return found


@pytest.fixture(scope="module")
def generator(folder: Path) -> LanguageGenerator:
    return LanguageGenerator.load(folder)


def sample(steps: int = 12, seed: int = 0) -> tasks.Sample:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 2**BITS, (steps, PLACES))
    return tasks.Sample("a person walks", tokens, 7.5, {"sensor": rng.normal(size=(4, 5))})


# --- ids --------------------------------------------------------------------------------------------------------------


def test_ids_by_hand(vocabulary: Vocabulary) -> None:
    text = vocabulary.config.text
    ids = vocabulary.motion(np.array([[0, 1, 2], [15, 0, 3]])).ids
    first = text + 3
    steps = [[first, first + 17, first + 34], [first + 15, first + 16, first + 35]]
    assert ids.tolist() == [[text, -1, -1], *steps, [text + 1, -1, -1]]
    assert vocabulary.config.size == text + 3 + 3 * 16


@given(st.integers(0, 2**32 - 1), st.text(max_size=40), st.integers(1, 9))
def test_ids_are_pieces_again(vocabulary: Vocabulary, seed: int, text: str, steps: int) -> None:
    tokens = np.random.default_rng(seed).integers(0, 2**BITS, (steps, PLACES))
    encoded = vocabulary.encode([tokens, text, tokens])
    found = vocabulary.decode(encoded.ids)
    motions = [piece for piece in found if isinstance(piece, np.ndarray)]
    assert [motion.tolist() for motion in motions] == [tokens.tolist()] * 2
    assert max(vocabulary.text(text), default=0) < vocabulary.config.text


@pytest.mark.parametrize("typed", ["<mot>", "</mot>", "<feature>", "<end>", "a <mot> b </mot>"])
def test_what_is_typed_is_text(vocabulary: Vocabulary, typed: str) -> None:
    ids = vocabulary.encode([typed]).ids
    assert 0 < ids[:, 0].min() <= ids.max() < vocabulary.config.text
    assert vocabulary.decode(ids) == [typed]


def test_a_tokenizer_that_holds_our_words_is_refused(vocabulary: Vocabulary) -> None:
    tokenizer = train_tokenizer(["a"], 300)
    tokenizer.add_tokens(["<mot>"])
    with pytest.raises(ValueError, match="already holds <mot>"):
        Vocabulary(tokenizer, config_of(tokenizer))


def test_a_tokenizer_whose_ids_are_motion_is_refused(vocabulary: Vocabulary) -> None:
    tokenizer = train_tokenizer(["a"], 300)
    tokenizer.add_tokens(["new", "words"])
    with pytest.raises(ValueError, match="not the tokenizer that this model was trained with"):
        Vocabulary(tokenizer, dataclasses.replace(vocabulary.config, text=tokenizer.get_vocab_size() - 1))


def test_a_tokenizer_that_pads_and_cuts_does_not(vocabulary: Vocabulary) -> None:
    tokenizer = train_tokenizer(["a person walks to the left", "someone waves"], 300)
    tokenizer.enable_padding(length=32)
    tokenizer.enable_truncation(8)
    found, text = Vocabulary(tokenizer, vocabulary.config), "someone waves at a friend and walks"
    assert found.text(text) == vocabulary.text(text)
    assert found.question(["a"]).ids.tolist() == vocabulary.question(["a"]).ids.tolist()


def test_tokens_of_another_codec_are_refused(vocabulary: Vocabulary) -> None:
    for wrong in (np.zeros((2, 4), int), np.full((2, PLACES), 16), np.full((2, PLACES), -1)):
        with pytest.raises(ValueError, match="rows of 3 numbers below 16"):
            vocabulary.motion(wrong)


# --- tasks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({name for shares in tasks.SHARES.values() for name in shares}))
def test_templates_can_be_filled(name: str, vocabulary: Vocabulary) -> None:
    task = tasks.task(name)
    assert len(set(task.instructions)) >= 8
    slots = task.slots(sample(), np.random.default_rng(0))
    assert slots is not None
    for template in (*task.instructions, task.answer):
        pieces = tasks.fill(template, slots)
        assert "{" not in "".join(piece for piece in pieces if isinstance(piece, str))
        assert not any(isinstance(a, str) and isinstance(b, str) for a, b in itertools.pairwise(pieces))
        vocabulary.encode(pieces)


def test_every_file_of_templates_is_a_task() -> None:
    assert {path.stem for path in tasks.FOLDER.iterdir()} == set(tasks.SHARES["instruct"])


@given(st.integers(0, 2**32 - 1), st.integers(4, 60))
def test_parts_of_a_motion_are_its_parts(seed: int, steps: int) -> None:
    rng, whole = np.random.default_rng(seed), sample(steps, seed)
    slots = tasks.task("prediction").slots(whole, rng)
    assert slots is not None
    past, future = (np.asarray(slots[name]) for name in ("past", "future"))
    assert 1 <= len(past) <= tasks.PAST
    assert np.concatenate([past, future]).tolist() == whole.tokens[-len(past) - len(future) :].tolist()
    slots = tasks.task("in_betweening").slots(whole, rng)
    if slots is None:
        assert steps < 6
        return
    parts = [np.asarray(slots[name]) for name in ("before", "middle", "after")]
    together = "".join(map(chr, np.concatenate(parts)[:, 0]))
    assert together in "".join(map(chr, whole.tokens[:, 0]))
    assert slots["seconds"] == f"{len(parts[1]) / 7.5:.1f}"


@pytest.mark.parametrize("stage", ["align", "instruct"])
def test_what_counts(stage: tasks.Stage, vocabulary: Vocabulary) -> None:
    chosen = [(tasks.task("motion_to_text"), 1.0)]
    found = tasks.example(chosen, vocabulary, stage, sample(), np.random.default_rng(0), 0.0)
    assert found is not None
    encoded, counts = found
    answer = [*vocabulary.text("a person walks"), vocabulary.config.end]
    assert encoded.ids[-len(answer) :, 0].tolist() == answer
    assert counts.sum() == (len(encoded) if stage == "align" else len(answer))
    assert counts[-len(answer) :].all()


def test_what_is_dropped_for_guidance(vocabulary: Vocabulary) -> None:
    rng = np.random.default_rng(0)
    (whole, _), (less, _) = (
        tasks.example([(tasks.task("prediction_with_text"), 1.0)], vocabulary, "instruct", sample(), rng, drop)
        for drop in (0.0, 1.0)
    )  # type: ignore[misc]
    assert any(isinstance(piece, str) for piece in vocabulary.decode(whole.ids))
    assert [type(piece) for piece in vocabulary.decode(less.ids)] == [np.ndarray, np.ndarray]
    # a caption that is asked for is not dropped, nor is what it is about
    found = tasks.example([(tasks.task("motion_to_text"), 1.0)], vocabulary, "instruct", sample(), rng, 1.0)
    assert found is not None
    assert any(isinstance(piece, str) and len(piece) > 14 for piece in vocabulary.decode(found[0].ids))


def test_features_stand_where_their_placeholders_are(
    vocabulary: Vocabulary, model: LanguageModel, tmp_path: Path
) -> None:
    (tmp_path / "tracking.json").write_text(
        json.dumps({"answer": "{motion}", "instructions": ["Sensors: {features} What moves so?"]})
    )
    task = tasks.read_task(tmp_path / "tracking.json", tasks.with_features("sensor"))
    whole = sample()
    found = tasks.example([(task, 1.0)], vocabulary, "align", whole, np.random.default_rng(0), 0.0)
    assert found is not None
    encoded, counts = found
    at = np.flatnonzero(encoded.ids[:, 0] == vocabulary.config.feature).tolist()
    assert len(at) == 4
    assert not counts[at].any()
    short = tasks.example([(tasks.task("length"), 1.0)], vocabulary, "align", whole, np.random.default_rng(0), 0.0)
    assert short is not None
    batch = collate([short, found])  # padded, and in a row of its own
    values = batch["values sensor"]
    x = model.embed(batch["ids"], {"sensor": (batch["at sensor"], values)})
    expected = values @ model.projections["sensor"].weight.T + model.projections["sensor"].bias
    torch.testing.assert_close(x[1, at], expected)
    before = model(batch)["loss"]
    assert abs(float(model({**batch, "values sensor": values + 1})["loss"] - before)) > 1e-4
    for wrong, match in (
        (Feature("camera", np.zeros((1, 5))), "reads sensor"),
        (Feature("sensor", np.zeros((1, 4))), "rows of 5"),
    ):
        with pytest.raises(ValueError, match=match):
            vocabulary.encode([wrong])


@pytest.mark.parametrize("content", ["{", "[]", '{"answer": "x"}', '{"answer": 1, "instructions": ["x"]}'])
def test_a_file_that_is_no_templates_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=r"x\.json"):
        tasks.read_task(tmp_path / "x.json", tasks.with_features("sensor"))


# --- reading and decoding ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [4, 2])
def test_our_llama_is_that_of_transformers(groups: int) -> None:
    """Rows of a batch padded on the left, read in pieces, against the whole row read at once by transformers."""
    torch.manual_seed(0)
    sizes = embedded(50, 64, 64, 3) | {"num_attention_heads": 4, "num_key_value_heads": groups, "head_dim": 16}
    config = LanguageConfig(sizes, "", 1, 4, 4, 30, 31, 0, 64)
    body = loud(LanguageModel(config)).eval().requires_grad_(False).body
    skipped = torch.tensor([0, 5, 2])
    x = torch.randn(3, 20, 64)
    ours, theirs = LlamaReader(Llama(body), skipped, 64), TransformersReader(body, skipped)
    with torch.inference_mode():
        pieces = [x[:, :9], *x[:, 9:].split(1, 1)]
        a, b = (torch.cat([reader.read(piece) for piece in pieces], 1) for reader in (ours, theirs))
        for row, skip in enumerate(skipped.tolist()):
            whole = body(inputs_embeds=x[row : row + 1, skip:]).last_hidden_state[0]
            torch.testing.assert_close(a[row, skip:], whole, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(b[row, skip:], whole, atol=1e-4, rtol=1e-4)


def test_a_row_that_has_ended_may_be_read_beyond_the_context() -> None:
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    plain = LanguageModel(LanguageConfig(embedded(50, 16, 32, 2), "", 1, 4, 4, 30, 31, 0, 16)).body
    gpt2 = GPT2Model(GPT2Config(vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=4))
    skipped, x = torch.tensor([0, 8]), torch.randn(2, 20, 32)
    for body in (plain.eval(), gpt2.eval()):
        readers = [TransformersReader(body, skipped)]
        readers += [LlamaReader(Llama(body), skipped, 20)] if body is plain else []
        with torch.inference_mode():
            whole = body(inputs_embeds=x[1:, 8:]).last_hidden_state[0]
            for reader in readers:
                pieces = torch.cat([reader.read(piece) for piece in (x[:, :14], *x[:, 14:].split(1, 1))], 1)
                torch.testing.assert_close(pieces[1, 8:], whole, atol=1e-4, rtol=1e-4)


def letters(config: LanguageConfig, ids: np.ndarray) -> str:
    """Ids as letters: t text, e end, ( `<mot>`, ) `</mot>`, s a step of motion."""
    named = {config.begin: "(", config.stop: ")", config.end: "e", config.feature: "f"}
    return "".join(named.get(token, "t" if token < config.text else "s") for token in ids[:, 0].tolist())


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["motion", "text", "any"]), st.one_of(st.none(), st.integers(1, 6)), st.integers(0, 2**32 - 1))
def test_only_what_is_legal_follows(vocabulary: Vocabulary, kind, steps: int | None, seed: int) -> None:
    config, rng = vocabulary.config, np.random.default_rng(seed)
    answer = Answer(config, kind, steps if kind == "motion" else None, 8)
    for _ in range(60):
        if answer.done:
            break
        spans = answer.legal()
        span = spans[rng.integers(len(spans))]  # ends and begins more often than a model would
        token = int(rng.integers(*span)) if rng.random() < 0.5 else span[1] - 1
        answer.take(np.array([token, *[-1] * (PLACES - 1)]))
    said = letters(config, answer.ids)
    if kind == "motion" and steps is not None:
        assert said == "s" * steps
    elif kind == "motion":
        assert re.fullmatch(r"s{1,8}\)", said)
    else:
        motion = "" if kind == "text" else r"|\(s*\)?"
        assert re.fullmatch(rf"(t{motion})*e?", said)
        assert "()" not in said


def test_an_answer_does_not_depend_on_its_company(vocabulary: Vocabulary, model: LanguageModel) -> None:
    decoder, config = Decoder(model), vocabulary.config
    questions, dropped = zip(
        *(
            tasks.instruction("length", vocabulary, caption=caption, seconds="1.0")
            for caption in ("a person walks", "someone waves and then walks to the left", "x")
        ),
        strict=True,
    )

    def run(rows: list[int], guidance: float) -> list[list[int]]:
        answers = [Answer(config, "motion", 4 + row) for row in rows]
        rngs = [np.random.default_rng(row) for row in rows]
        asked, less = [questions[row] for row in rows], [dropped[row] for row in rows]
        for _ in decoder.decode(asked, answers, rngs, Sampling(guidance), less):
            pass
        for answer in answers:
            for place, codes in enumerate(answer.ids.T):
                first, last = config.span(place)
                assert first <= codes.min() <= codes.max() < last
        return [answer.ids.tolist() for answer in answers]

    for guidance in (1.0, 3.0):
        together = run([0, 1, 2], guidance)
        assert [len(ids) for ids in together] == [4, 5, 6]
        assert together == [run([row], guidance)[0] for row in range(3)]
    assert run([0], 1.0) != run([0], 3.0)


def test_the_loss_is_that_of_each_token(vocabulary: Vocabulary, model: LanguageModel) -> None:
    """By hand: the body's logits tell text, `</mot>` and the first token of a step, `deeper` the others."""
    config, tokens = vocabulary.config, np.array([[3, 9, 15], [0, 4, 7]])
    encoded = vocabulary.encode(["a", tokens, "b"])
    counts = np.ones(len(encoded), bool)
    hidden = model.body(inputs_embeds=model.embed(torch.from_numpy(encoded.ids[None]))).last_hidden_state[0]
    losses: dict[str, list[float]] = {"text": [], "motion": []}
    for at, row in enumerate(encoded.ids[1:].tolist()):
        shares = model.logits(hidden[at])[: config.span(0)[1]].log_softmax(0)
        losses["motion" if row[0] >= config.first else "text"].append(-float(shares[row[0]]))
        known = hidden[at : at + 1]
        for place in (1, 2) if row[0] >= config.first else ():
            known, logits = model.deeper(known, torch.tensor(row[place - 1 : place]), place)
            losses["motion"].append(-float(logits[0].log_softmax(0)[row[place] - config.span(place)[0]]))
    found = model(collate([(encoded, counts)]))
    assert len(losses["motion"]) == 6
    for name, values in (*losses.items(), ("loss", losses["text"] + losses["motion"])):
        assert float(found[name]) == pytest.approx(np.mean(values), rel=1e-4)
    # each token of a step changes what is read after it
    for place in range(PLACES):
        other = tokens.copy()
        other[0, place] ^= 1
        changed = model.embed(torch.from_numpy(vocabulary.encode(["a", other, "b"]).ids[None]))
        assert not torch.allclose(model.body(inputs_embeds=changed).last_hidden_state[0, -1], hidden[-1])


def test_what_is_read_in_training_is_motion_in_part_of_chance(vocabulary: Vocabulary, model: LanguageModel) -> None:
    config, rng = vocabulary.config, np.random.default_rng(0)
    encoded = vocabulary.encode(["a person", rng.integers(0, 2**BITS, (400, PLACES)), "walks"])
    ids = torch.from_numpy(encoded.ids)[None]
    found = model.corrupted(ids)
    changed = (found != ids).any(-1)[0].numpy()
    assert not changed[encoded.ids[:, 1] < 0].any()  # text stays text
    assert 0.08 < changed.mean() < 0.22
    for place, column in enumerate(found[0, torch.from_numpy(changed)].T):
        first, last = config.span(place)
        assert first <= column.min() <= column.max() < last


def test_guidance_by_hand(vocabulary: Vocabulary, model: LanguageModel) -> None:
    """The likeliest token under u + g (c - u), with both predictions by transformers."""
    question, dropped = tasks.instruction("length", vocabulary, caption="someone waves", seconds="1.0")
    config = vocabulary.config

    def known(encoded) -> torch.Tensor:
        return model.body(input_ids=torch.from_numpy(encoded.ids[None, :, 0])).last_hidden_state[:, -1]

    def guided(with_text: torch.Tensor, without: torch.Tensor) -> int:
        return int((without + 2.5 * (with_text - without)).argmax())

    states = [known(question), known(dropped)]
    expected = [guided(*((state @ model.embedding.weight.T)[0, slice(*config.span(0))] for state in states))]
    for place in (1, 2):
        newest = torch.tensor([config.span(place - 1)[0] + expected[-1]])
        states, logits = zip(*(model.deeper(state, newest, place) for state in states), strict=True)
        expected.append(guided(*(found[0] for found in logits)))
    answer = Answer(config, "motion", 1)
    for _ in Decoder(model).decode(
        [question], [answer], [np.random.default_rng(0)], Sampling(2.5, temperature=0.0), [dropped]
    ):
        pass
    assert vocabulary.codes(answer.ids).tolist() == [expected]


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1.0), st.floats(0.2, 3.0))
def test_tokens_are_drawn_from_the_likeliest(seed: int, top_p: float, temperature: float) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (1, 9))
    shares = np.exp(logits[0] / temperature)
    shares /= shares.sum()
    ranked = sorted(range(9), key=lambda k: -shares[k])
    kept, total = [], 0.0
    for k in ranked:
        if total >= top_p - 1e-12:
            break
        kept.append(k)
        total += shares[k]
    sampling = Sampling(1.0, temperature, top_p)
    found = [int(drawn(logits, [np.random.default_rng(k)], sampling)[0]) for k in range(200)]
    assert set(found) <= set(kept)
    counts = np.bincount(found, minlength=9) / 200
    assert np.abs(counts - np.where(np.isin(np.arange(9), kept), shares / total, 0)).max() < 0.2


# --- backbones --------------------------------------------------------------------------------------------------------


def write_backbone(folder: Path, kind: str) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    tokenizer = train_tokenizer(["a person walks", "someone waves"], 290)
    end = tokenizer.token_to_id("<end>")
    torch.manual_seed(0)
    ids = {"bos_token_id": None, "eos_token_id": end, "pad_token_id": None}
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4} | ids
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(vocab_size=300, num_key_value_heads=2, tie_word_embeddings=False, **small))
    elif kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(vocab_size=320, num_key_value_heads=2, tie_word_embeddings=True, **small))
    else:
        model = GPT2LMHeadModel(GPT2Config(vocab_size=290, n_positions=256, n_embd=32, n_layer=2, n_head=4, **ids))
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer.to_str())


@pytest.fixture(scope="module")
def codec_folder(folder: Path) -> Path:
    return folder / "codec"


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("lora", [0, 4])
def test_any_backbone_is_extended_tuned_merged_saved_and_read(
    kind: str, lora: int, tmp_path: Path, walks_corpus: Path, codec_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, export = tmp_path / kind, tmp_path / "export"
    write_backbone(original, kind)
    monkeypatch.setattr("kinema.models.language.data.Tokens", lambda *_: few_tokens(walks_corpus, codec_folder))
    task = LanguageTask("instruct", [walks_corpus], codec=codec_folder, backbone=str(original), lora=lora, batch=4)
    rows = {"llama": 300, "qwen2": 320, "gpt2": 290}[kind]
    assert task.config.text == rows  # above the rows of the embedding, which may be more than the tokenizer has
    torch.manual_seed(0)
    model = task.build()
    assert isinstance(model, LanguageModel)
    assert (model.head is None) == (kind != "llama")
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if lora:
        others = [name for name in learning if "lora_" not in name and not name.startswith("depth.")]
        assert len(others) == (2 if kind == "llama" else 1)  # the embedding, and the head where it is one of its own
        assert len(learning) > len(others)
    else:
        assert len(learning) == len(list(model.parameters()))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    batch, losses = task.batch(np.random.default_rng(0)), []
    for _ in range(4):
        loss = model(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    model.eval()
    with torch.no_grad():
        expected = model(batch)["loss"]
        task.export(model, export, {})
        found = LanguageGenerator.load(export)
        torch.testing.assert_close(found.model(batch)["loss"], expected, rtol=0.01, atol=0)
    assert not [name for name, _ in found.model.named_parameters() if "lora" in name]
    assert found.info["licence"] == f"CC0; test; that of the backbone {kind}"
    (motion,) = found.generate(Request("a person walks", 1))
    assert len(motion) == 30
    assert isinstance(found.describe(motion), str)


def few_tokens(corpus: Path, codec: Path) -> Tokens:
    opened = Corpus.open(corpus)
    opened.clips = [clip for clip in opened.clips if clip.split in ("train", "val")][::12]
    return Tokens([opened], MotionCodec.load(codec), ("train", "val"))


def test_a_merged_model_says_what_the_updates_made_it_say(vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    model = trainable(LanguageModel(vocabulary.config), 4).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    ids = torch.randint(0, vocabulary.config.text, (2, 9, 1))
    ids = torch.cat([ids, torch.full((2, 9, PLACES - 1), -1)], 2)
    with torch.no_grad():
        adapted, plain = (
            found.body(inputs_embeds=found.embed(ids)).last_hidden_state for found in (model, merged(model))
        )
        torch.testing.assert_close(plain, adapted, atol=1e-4, rtol=1e-4)
        assert any("lora" in name for name, _ in model.named_parameters())  # the one in training stays as it is


def test_sizes_of_a_backbone_bring_no_code_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """What says its sizes comes with weights from anywhere: nothing in it may be fetched and run, or asked about."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    sizes = embedded(50, 64, 32, 1)
    for key in ("attn_implementation", "_attn_implementation"):
        body, _ = backbone.build(sizes | {key: "somebody/kernel"})
        assert body.config._attn_implementation in ("sdpa", "eager")
    with pytest.raises(ValueError, match="custom code"):
        backbone.build({"model_type": "clip", "auto_map": {"AutoModelForCausalLM": "somebody/code--model.Model"}})


@pytest.mark.parametrize(
    "sizes", [{"num_attention_heads": 0}, {"vocab_size": 1}, {"pad_token_id": 99}, {"hidden_size": "32"}]
)
def test_sizes_that_are_none_are_refused(sizes: dict) -> None:
    with pytest.raises(ValueError):
        backbone.build(embedded(50, 64, 32, 1) | sizes)


@pytest.mark.parametrize(
    "damage",
    [
        "no tokenizer",
        "large tokenizer",
        "our words",
        "no end",
        "short",
        "no text",
        "no number",
        "not there",
        "no config",
        "not json",
    ],
)
def test_a_backbone_that_cannot_be_used_gets_one_sentence(
    damage: str, tmp_path: Path, walks_corpus: Path, codec_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "backbone"
    write_backbone(folder, "gpt2")
    if damage == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif damage == "large tokenizer":
        monkeypatch.setattr("kinema.models.language.vocabulary.MAX_TOKENIZER_BYTES", 1000)
    elif damage == "our words":
        tokenizer = read_tokenizer(folder / "tokenizer.json")
        tokenizer.add_tokens(["</mot>"])
        (folder / "tokenizer.json").write_text(tokenizer.to_str())
    elif damage == "not json":
        (folder / "config.json").write_text("{")
    elif damage == "not there":
        shutil.rmtree(folder)
    elif damage == "no config":
        (folder / "config.json").unlink()
    else:
        sizes = json.loads((folder / "config.json").read_text())
        sizes |= {
            "no end": {"eos_token_id": 100_000},
            "short": {"n_positions": 64},
            "no text": {"model_type": "clip", "vocab_size": None},
            "no number": {"n_layer": "two"},
        }[damage]
        (folder / "config.json").write_text(json.dumps(sizes))
    with pytest.raises(ValueError) as caught:
        LanguageTask("align", [walks_corpus], codec=codec_folder, backbone=str(folder))
    assert "\n" not in str(caught.value)
    said = {
        "large tokenizer": "larger than 1000 bytes",
        "our words": "already holds </mot>",
        "no end": "no answer could end",
        "short": "reads 64 tokens at once",
        "no text": "is a clip",
        "no number": "is no model of transformers",
        "no config": "no folder with a config.json",
    }
    assert said.get(damage, "backbone") in str(caught.value)


# --- training ---------------------------------------------------------------------------------------------------------


def test_two_stages_learn_and_are_read_again(
    walks_corpus: Path, codec_folder: Path, tmp_path: Path, walk: Motion
) -> None:
    task = LanguageTask("align", [walks_corpus], codec=codec_folder, sizes=TINY, batch=4, share=0.2)
    again = LanguageTask("align", [walks_corpus], codec=codec_folder, sizes=TINY, batch=4, share=0.2)
    assert task.settings == again.settings  # so that a run is resumed, with the same batches
    one, other = (found.batch(np.random.default_rng(3)) for found in (task, again))
    assert all(torch.equal(one[name], other[name]) for name in one)

    Trainer(task, tmp_path / "align", steps=8, validate_every=4, warmup=1, threads=1).run()
    rows = map(json.loads, (tmp_path / "align" / "log.jsonl").read_text().splitlines())
    scores = [row["validation"]["score"] for row in rows if "validation" in row]
    assert scores[-1] < scores[0]
    start = tmp_path / "align" / "export"
    tuned = LanguageTask("instruct", [walks_corpus], start=start, lora=2, batch=4, share=0.2)
    assert tuned.config == task.config
    report = Trainer(tuned, tmp_path / "instruct", steps=2, warmup=1, threads=1).run()
    assert report["best"]["validation"]["motion"] > 0
    generator = LanguageGenerator.load(tmp_path / "instruct" / "export")
    assert generator.info["stage"] == "instruct"
    assert generator.info["licence"] == "CC0; test"  # of the corpus and of the codec
    (motion,) = generator.generate(Request("a person walks", 1))
    assert len(motion) == 30


def test_captions_of_mirrored_clips_are_mirrored(walks_corpus: Path, codec_folder: Path) -> None:
    clips = few_tokens(walks_corpus, codec_folder).clips["train"]
    texts = [about[0][2] for _, about in clips]
    assert all(text.endswith("left") for text in texts[::2])
    assert all(text.endswith("right") for text in texts[1::2])
    assert all(not np.array_equal(a, b) for (a, _), (b, _) in zip(clips[::2], clips[1::2], strict=True))


def test_settings_that_do_not_go_together_are_refused(walks_corpus: Path, folder: Path) -> None:
    codec = folder / "codec"
    for match, options in {
        "name no other": {"start": folder, "sizes": TINY},
        "sizes of its own": {"backbone": "x", "sizes": TINY},
        "weights that are there": {"lora": 4},
        "rank": {"lora": -1, "start": folder},
    }.items():
        with pytest.raises(ValueError, match=match):
            LanguageTask("align", [walks_corpus], codec=codec, **options)


# --- in use -----------------------------------------------------------------------------------------------------------


def test_a_step_of_tokens_is_a_piece(generator: LanguageGenerator, walk: Motion) -> None:
    for past in (None, walk):
        generator.reset(Request("a person walks", 1, past=past, samples=2))
        lengths = []
        while (pieces := generator.step()) is not None:
            assert len(pieces) == 2
            lengths.append(len(pieces[0]))
        assert lengths == [4] * 7 + [2]


def test_without_a_length_the_model_says_when_it_ends(generator: LanguageGenerator) -> None:
    lengths = {len(generator.generate(Request("x", seed=seed))[0]) for seed in range(12)}
    assert all(length % 4 == 0 and 4 <= length <= 4 * tasks.LONGEST for length in lengths)
    motions = generator.generate(Request("x", samples=3, seed=1))
    assert len({len(motion) for motion in motions}) == 1


def test_many_at_once_are_those_that_come_alone(generator: LanguageGenerator) -> None:
    plain = LanguageGenerator(
        generator.model, generator.vocabulary, generator.codec, generator.info, Sampling(foot_lock=False)
    )
    requests = [Request("a person walks", 2, seed=1), Request("someone waves at a friend", 1.2), Request("x", 2.5)]
    for request, motion in zip(requests, plain.generate_many(requests), strict=True):
        (alone,) = plain.generate(request)
        np.testing.assert_allclose(motion.joint_positions(), alone.joint_positions(), atol=1e-6)
        plain.reset(request)
        pieces = []
        while (piece := plain.step()) is not None:
            pieces.append(piece[0].joint_positions())
        np.testing.assert_allclose(np.concatenate(pieces), alone.joint_positions(), atol=1e-3)
    # the row of the long prompt has long ended when the other is done, and is beyond the context by then
    requests = [Request("xqz " * 50, 1), Request("x", 10)]
    for request, motion in zip(requests, plain.generate_many(requests), strict=True):
        np.testing.assert_allclose(motion.joint_positions(), plain.generate(request)[0].joint_positions(), atol=1e-6)
    with pytest.raises(ValueError, match="one prompt and one window"):
        plain.generate_many([Request("x", 60)])


def test_pieces_after_a_past_have_no_seam(generator: LanguageGenerator, walk: Motion) -> None:
    whole = generator.continued(walk, 1.0, "a person walks")
    assert len(whole) == len(walk) + 30
    speed = np.linalg.norm(np.diff(whole.joint_positions(), axis=0), axis=-1).max(1)
    # one random pose after the other trembles; the frame where the walk is left does not stand out
    assert speed[len(walk) - 1] < max(speed[len(walk) :].max(), speed[: len(walk) - 1].max()) + 1e-6


def test_a_gap_is_filled(generator: LanguageGenerator, walk: Motion) -> None:
    whole = generator.fill(walk, walk, 1.0, seed=2)
    assert len(whole) == 2 * len(walk) + 30
    np.testing.assert_allclose(whole.rotations[: len(walk)], walk.rotations)
    end = walk.rotations[-20:, 1:]  # of the second, moved but the same once it has left the gap behind
    np.testing.assert_allclose(np.abs((whole.rotations[-20:, 1:] * end).sum(-1)), 1, atol=1e-9)
    sit = walk.replace(metadata={"source": "somebody", "licence": "CC BY-NC 4.0"})
    whole = generator.fill(walk, sit, 6.0, "xqz " * 40)  # a window has less room than without what comes after
    assert len(whole) == 2 * len(walk) + 180
    assert whole.metadata["licence"] == "test; CC BY-NC 4.0"
    assert whole.metadata["source"].startswith("constructed; generated by Kinema")
    short = walk.replace(root_position=walk.root_position[:3], rotations=walk.rotations[:3])
    with pytest.raises(ValueError, match="3 frames; it takes 4"):  # before anything is made
        generator.reset(Request("x", 1, past=walk, future=short))
    with pytest.raises(ValueError, match=r"at least 0\.5"):
        generator.fill(walk, walk, 0.0)
    with pytest.raises(ValueError, match="give all three"):
        generator.generate(Request("x", 1, future=walk))


def test_a_motion_is_described_in_text(generator: LanguageGenerator, walk: Motion) -> None:
    text = generator.describe(walk)
    assert isinstance(text, str)
    assert text == generator.describe(walk)
    short = walk.replace(root_position=walk.root_position[:3], rotations=walk.rotations[:3])
    with pytest.raises(ValueError, match="3 frames; it takes 4"):
        generator.describe(short)
    many = walk.replace(root_position=np.tile(walk.root_position, (5, 1)), rotations=np.tile(walk.rotations, (5, 1, 1)))
    with pytest.raises(ValueError, match=r"at most 10\.0 s at once"):
        generator.describe(many)


def test_a_prompt_beyond_the_context_is_refused(generator: LanguageGenerator) -> None:
    with pytest.raises(ValueError, match=r"the prompt has \d+ tokens, and this model reads 256"):
        generator.reset(Request("xqz " * 99, 2))


def test_another_codec_is_refused(folder: Path, tmp_path: Path, walks_corpus: Path) -> None:
    changed = tmp_path / "model"
    shutil.copytree(folder, changed)
    path = changed / "codec" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="another codec"):
        LanguageGenerator.load(changed)
    with pytest.raises(ValueError, match="another codec"):
        LanguageTask("instruct", [walks_corpus], codec=changed / "codec", start=folder)


def test_a_codec_that_is_missing_is_not_looked_for_elsewhere(
    folder: Path, tmp_path: Path, walks_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("codec"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    for load in (LanguageGenerator.load, lambda name: LanguageTask("instruct", [walks_corpus], start=name)):
        with pytest.raises(ValueError, match=r"no model '.*codec'"):
            load("model")


@pytest.mark.parametrize("damage", ["fewer ids", "other sizes", "no tokenizer", "another tokenizer"])
def test_files_that_do_not_belong_together_are_refused(damage: str, folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "model"
    shutil.copytree(folder, changed)
    info = json.loads((changed / "config.json").read_text())
    if damage == "fewer ids":
        info["config"]["text"] -= 3
    elif damage == "other sizes":
        info["config"]["backbone"]["hidden_size"] = 64
    elif damage == "no tokenizer":
        (changed / "tokenizer.json").unlink()
    else:
        tokenizer = train_tokenizer(["a person walks backwards, quickly, and then sits down on a chair"], 330)
        (changed / "tokenizer.json").write_text(tokenizer.to_str())
    (changed / "config.json").write_text(json.dumps(info))
    with pytest.raises(
        ValueError, match=str(changed) if damage != "another tokenizer" else "motion begins at"
    ) as caught:
        LanguageGenerator.load(changed)
    assert "\n" not in str(caught.value)


def test_weights_are_read_as_written(folder: Path) -> None:
    model, info = read_weights(folder, LanguageModel)
    assert info["config"]["backbone"]["model_type"] == "llama"
    names = [name for name in model.state_dict() if "embed" in name or "head" in name]
    assert names == ["body.embed_tokens.weight"]  # shared, and so written once
