"""Greets the caller, and tells stories: a function that reads its request and calls a model.

`GET /?name=Mia`, or `POST /` with `{"about": "a fox"}`.
"""

import json
from urllib.parse import parse_qs, urlsplit

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.graph import load_by_name
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.tensor import Tensor, TensorType
from wit_world.imports.types import (
    Fields,
    Method_Post,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

# emberbox.toml grants it.
MODEL = "tiny-storyteller"
# The model's whole context is 256 tokens, the question included.
STORY_TOKENS_MAX = 200
READ_BYTES = 65536
# What one blocking_write_and_flush takes at most.
WRITE_BYTES_MAX = 4096


class IncomingHandler(exports.IncomingHandler):
    """What the world exports. Its name is that of the interface."""

    def handle(self, request, response_out):
        url = urlsplit(request.path_with_query() or "/")
        print(f"hello-python: {url.path}")
        if not isinstance(request.method(), Method_Post):
            name = parse_qs(url.query).get("name", ["world"])[0]
            send(response_out, 200, "text/plain; charset=utf-8", f"Hello, {name}!\n")
            return
        about = wish(read(request))
        if about is None:
            status, reply = 400, {"error": 'post {"about": "a fox"}'}
        else:
            status, reply = 200, tell(about)
        send(response_out, status, "application/json", json.dumps(reply))


def wish(body):
    """What the story is to be about, or None where the body does not say."""
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    about = asked.get("about") if isinstance(asked, dict) else None
    return about if isinstance(about, str) else None


def tell(about):
    """A story, and the tokens that it took."""
    messages = [{"role": "user", "content": f"Tell me a story about {about}."}]
    options = {"max_tokens": STORY_TOKENS_MAX, "temperature": 0.8}
    inputs = [("messages", to_tensor(messages)), ("options", to_tensor(options))]
    try:
        outputs = dict(load_by_name(MODEL).init_execution_context().compute(inputs))
    except Err as error:
        # What the host refuses is raised with the reason inside.
        raise RuntimeError(error.value.data()) from None
    return {"story": to_text(outputs["text"]), "usage": json.loads(to_text(outputs["usage"]))}


def to_tensor(value):
    """JSON as the model takes it: bytes of UTF-8."""
    data = json.dumps(value).encode()
    return Tensor([len(data)], TensorType.U8, data)


def to_text(tensor):
    return tensor.data().decode()


def read(request):
    """The body of a request."""
    pieces = []
    with request.consume() as body, body.stream() as stream:
        while True:
            try:
                pieces.append(stream.blocking_read(READ_BYTES))
            except Err as end:
                if isinstance(end.value, StreamError_Closed):
                    return b"".join(pieces)
                raise


def send(response_out, status, content_type, text):
    """The whole answer."""
    response = OutgoingResponse(Fields.from_list([("content-type", content_type.encode())]))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    data = text.encode()
    with body.write() as stream:
        for start in range(0, len(data), WRITE_BYTES_MAX):
            stream.blocking_write_and_flush(data[start : start + WRITE_BYTES_MAX])
    OutgoingBody.finish(body, None)
