// Greets the caller, and tells stories: a function that reads its request and calls a model.
//
// `GET /?name=Mia`, or `POST /` with `{"about": "a fox"}`.

import { loadByName } from 'wasi:nn/graph@0.2.0-rc-2024-10-28';
import { Tensor } from 'wasi:nn/tensor@0.2.0-rc-2024-10-28';

// emberbox.toml grants it.
const MODEL = 'tiny-storyteller';
// The model's whole context is 256 tokens, the question included.
const STORY_TOKENS_MAX = 200;

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname, searchParams } = new URL(request.url);
  console.log(`hello-js: ${request.method} ${pathname}`);
  if (request.method !== 'POST') {
    return new Response(`Hello, ${searchParams.get('name') ?? 'world'}!\n`);
  }
  const asked = await request.json().catch(() => null);
  if (typeof asked?.about !== 'string') {
    return Response.json({ error: 'post {"about": "a fox"}' }, { status: 400 });
  }
  return Response.json(tell(asked.about));
}

// A story, and the tokens that it took.
function tell(about) {
  const messages = [{ role: 'user', content: `Tell me a story about ${about}.` }];
  const options = { max_tokens: STORY_TOKENS_MAX, temperature: 0.8 };
  try {
    const outputs = loadByName(MODEL).initExecutionContext().compute([
      ['messages', toTensor(messages)],
      ['options', toTensor(options)],
    ]);
    const found = new Map(outputs);
    return { story: toText(found.get('text')), usage: JSON.parse(toText(found.get('usage'))) };
  } catch (error) {
    // What the host refuses is thrown with the reason as its payload.
    throw new Error(error.payload?.data() ?? error.message);
  }
}

// JSON as the model takes it: bytes of UTF-8.
function toTensor(value) {
  const data = new TextEncoder().encode(JSON.stringify(value));
  return new Tensor(new Uint32Array([data.length]), 'U8', data);
}

function toText(tensor) {
  return new TextDecoder().decode(tensor.data());
}
