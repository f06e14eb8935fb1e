"""One check of an unmodified OpenAI SDK against an Emberbox server.

    openai_client.py NAME

reads EMBERBOX_E2E_URL (with /v1), EMBERBOX_E2E_KEY (an organisation with credits),
EMBERBOX_E2E_POOR_KEY (one without) and EMBERBOX_E2E_REFERENCE (the vectors that PyTorch made).
Prints one line that says what was seen; an assertion that fails ends the program with code 1.
"""

import decimal
import json
import math
import os
import sys
import time

import openai

URL = os.environ["EMBERBOX_E2E_URL"]
CHAT_MODEL = "tiny-storyteller"
EMBEDDING_MODEL = "all-minilm-l6-v2"
COSINE_MIN = 0.9999
ASK = [{"role": "user", "content": "Tell me a story about a fox named Mia."}]


def client(key=None):
    return openai.OpenAI(base_url=URL, api_key=key or os.environ["EMBERBOX_E2E_KEY"])


def check_usage(usage):
    """Tokens add up, and the cost is a decimal string above zero."""
    assert usage.prompt_tokens > 0, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
    assert isinstance(usage.cost, str), usage
    cost = decimal.Decimal(usage.cost)
    assert cost > 0, usage
    return cost


def models():
    listed = [model.id for model in client().models.list()]
    assert CHAT_MODEL in listed and EMBEDDING_MODEL in listed, listed
    assert client().models.retrieve(CHAT_MODEL).id == CHAT_MODEL
    try:
        client().models.retrieve("no-such-model")
        raise AssertionError("an unknown model was found")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error.code
    return ", ".join(listed)


def chat():
    raw = client().chat.completions.with_raw_response.create(
        model=CHAT_MODEL, messages=ASK, max_tokens=120, temperature=0.7, seed=7
    )
    reply = raw.parse()
    text = reply.choices[0].message.content
    assert reply.object == "chat.completion" and reply.model == CHAT_MODEL, reply
    assert len(text.split()) > 10, text
    assert reply.choices[0].finish_reason in ("stop", "length"), reply
    cost = check_usage(reply.usage)
    assert decimal.Decimal(raw.headers["x-emberbox-cost"]) == cost, raw.headers
    assert raw.headers["x-emberbox-receipt"] and raw.headers["x-request-id"], raw.headers
    again = client().chat.completions.create(
        model=CHAT_MODEL, messages=ASK, max_tokens=120, temperature=0.7, seed=7
    )
    assert again.choices[0].message.content == text, "the same seed told another story"
    return f"{reply.usage.completion_tokens} tokens for {cost} credits"


def stream():
    pieces, usage, reasons = [], None, []
    events = client().chat.completions.create(
        model=CHAT_MODEL,
        messages=ASK,
        max_tokens=120,
        stream=True,
        stream_options={"include_usage": True},
    )
    for event in events:
        assert event.object == "chat.completion.chunk", event
        if event.usage is not None:
            assert not event.choices, event
            usage = event.usage
        for choice in event.choices:
            pieces.append(choice.delta.content or "")
            if choice.finish_reason:
                reasons.append(choice.finish_reason)
    text = "".join(pieces)
    assert len(text.split()) > 10, text
    assert len(reasons) == 1 and reasons[0] in ("stop", "length"), reasons
    assert len([piece for piece in pieces if piece]) > 3, "it did not come in pieces"
    cost = check_usage(usage)
    return f"{len(pieces)} chunks, {usage.completion_tokens} tokens for {cost} credits"


def formats():
    """A schema, a regular expression, likelihoods and several answers, through the SDK's own arguments."""
    schema = {
        "type": "object",
        "properties": {"animal": {"enum": ["fox", "hen"]}, "brave": {"type": "boolean"}},
        "required": ["animal", "brave"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "animal", "schema": schema}}
    reply = client().chat.completions.create(
        model=CHAT_MODEL, messages=ASK, max_tokens=150, response_format=wanted, seed=1
    )
    animal = json.loads(reply.choices[0].message.content)
    assert animal["animal"] in ("fox", "hen") and animal["brave"] in (True, False), animal
    assert reply.choices[0].finish_reason == "stop", reply
    pattern = {"type": "regex", "pattern": "(yes|no)( (yes|no)){2}"}
    events = client().chat.completions.create(
        model=CHAT_MODEL,
        messages=ASK,
        max_tokens=60,
        stream=True,
        extra_body={"response_format": pattern},
    )
    text = "".join(event.choices[0].delta.content or "" for event in events)
    assert set(text.split()) <= {"yes", "no"} and len(text.split()) == 3, text
    reply = client().chat.completions.create(
        model=CHAT_MODEL, messages=ASK, max_tokens=5, temperature=0, logprobs=True, top_logprobs=2
    )
    tokens = reply.choices[0].logprobs.content
    assert len(tokens) == reply.usage.completion_tokens == 5, reply
    assert all(t.logprob == t.top_logprobs[0].logprob <= 0 for t in tokens), tokens
    assert bytes(b for t in tokens for b in t.bytes).decode() == reply.choices[0].message.content
    reply = client().chat.completions.create(model=CHAT_MODEL, messages=ASK, max_tokens=20, n=3)
    told = {choice.index: choice.message.content for choice in reply.choices}
    assert sorted(told) == [0, 1, 2] and all(told.values()), reply
    assert reply.usage.completion_tokens <= 60, reply.usage
    return f"{animal}, {text!r}, {len(set(told.values()))} different stories"


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def embeddings():
    with open(os.environ["EMBERBOX_E2E_REFERENCE"], encoding="utf-8") as file:
        reference = json.load(file)
    texts = [row["text"] for row in reference["rows"]]
    vectors = [row["vector"] for row in reference["rows"]]
    tokens = sum(row["tokens"] for row in reference["rows"])
    worst = 1.0
    # Left alone, the SDK asks for base64 and decodes it.
    for encoding in ({}, {"encoding_format": "float"}):
        reply = client().embeddings.create(model=EMBEDDING_MODEL, input=texts, **encoding)
        assert [row.index for row in reply.data] == list(range(len(texts)))
        assert reply.usage.prompt_tokens == tokens and reply.usage.cost, (reply.usage, tokens)
        for row, vector in zip(reply.data, vectors, strict=True):
            worst = min(worst, cosine(row.embedding, vector))
    single = client().embeddings.create(model=EMBEDDING_MODEL, input=texts[0])
    worst = min(worst, cosine(single.data[0].embedding, vectors[0]))
    assert worst >= COSINE_MIN, f"cosine {worst:.6f} < {COSINE_MIN}"
    return f"{len(texts)} sentences, worst cosine {worst:.6f}"


def unauthorized():
    try:
        client("eb_" + "0" * 43).chat.completions.create(model=CHAT_MODEL, messages=ASK)
    except openai.AuthenticationError as error:
        assert error.status_code == 401 and error.code == "invalid_api_key", error
        return f"AuthenticationError, {error.code}"
    raise AssertionError("a key that nobody has was taken")


def unpaid():
    poor = client(os.environ["EMBERBOX_E2E_POOR_KEY"])
    began = time.monotonic()
    try:
        poor.chat.completions.create(model=CHAT_MODEL, messages=ASK, max_tokens=50)
    except openai.APIStatusError as error:
        assert type(error) is openai.APIStatusError, type(error)
        assert error.status_code == 402 and error.code == "insufficient_credits", error
        # The SDK would wait half a second before a retry; a 402 gets none.
        assert time.monotonic() - began < 30, "the SDK retried"
        return f"APIStatusError 402, {error.code}"
    raise AssertionError("an organisation without credits was served")


def refused():
    cases = [
        (openai.NotFoundError, "model_not_found", {"model": "no-such-model"}),
        (openai.BadRequestError, "invalid_request", {"temperature": -1}),
        (openai.BadRequestError, "context_length_exceeded", {"messages": [
            {"role": "user", "content": "again and again " * 2000}]}),
    ]
    for expected, code, change in cases:
        arguments = {"model": CHAT_MODEL, "messages": ASK, **change}
        try:
            client().chat.completions.create(**arguments)
            raise AssertionError(f"{list(change)} was accepted")
        except expected as error:
            assert error.code == code and error.message, error
    return ", ".join(code for _, code, _ in cases)


CHECKS = [models, chat, stream, formats, embeddings, unauthorized, unpaid, refused]

if __name__ == "__main__":
    print({check.__name__: check for check in CHECKS}[sys.argv[1]]())
