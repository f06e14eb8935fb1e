#!/usr/bin/env python3
"""Talks to Emberbox with the unmodified OpenAI SDK.

    pip install openai
    export EMBERBOX_API_KEY=eb_...                 # `emberbox serve` prints one at its first start
    export EMBERBOX_URL=http://127.0.0.1:8080      # this is the default
    python chat.py "Tell me a story about a fox named Mia."
"""

import math
import os
import sys

from openai import APIStatusError, OpenAI

MODEL = os.environ.get("EMBERBOX_MODEL", "tiny-storyteller")


def chat(client: OpenAI, question: str) -> None:
    """A streamed answer. Its cost comes with the usage, in the last chunk."""
    chunks = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": question}],
        max_tokens=120,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in chunks:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        if chunk.usage:
            # `cost` is Emberbox's own field: a decimal number of credits, as a string.
            print(f"\n[{chunk.usage.total_tokens} tokens, {chunk.usage.cost} credits]")


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b))


def similar(client: OpenAI, one: str, other: str) -> None:
    """How close two texts are, by the cosine of their embeddings."""
    reply = client.embeddings.create(model=MODEL, input=[one, other])
    a, b = (item.embedding for item in reply.data)
    cosine = dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))
    print(f"{one!r} and {other!r}: {cosine:.3f} [{reply.usage.cost} credits]")


def main() -> None:
    base = os.environ.get("EMBERBOX_URL", "http://127.0.0.1:8080").rstrip("/")
    client = OpenAI(base_url=f"{base}/v1", api_key=os.environ["EMBERBOX_API_KEY"])
    question = " ".join(sys.argv[1:]) or "Tell me a story about a fox named Mia."
    try:
        print("models:", ", ".join(model.id for model in client.models.list()))
        chat(client, question)
        similar(client, "The fox found a kite.", "A rabbit lost a ball.")
    except APIStatusError as error:
        # 402 has no class of its own in the SDK: it arrives here, like 401 and 404.
        sys.exit(f"{error.status_code}: {error.message}")


if __name__ == "__main__":
    main()
