#!/bin/sh
# The same with curl: models, a whole answer, a streamed one, embeddings, the balance.
#
#   export EMBERBOX_API_KEY=eb_...                 # `emberbox serve` prints one at its first start
#   export EMBERBOX_URL=http://127.0.0.1:8080      # this is the default
set -eu
url=${EMBERBOX_URL:-http://127.0.0.1:8080}
model=${EMBERBOX_MODEL:-tiny-storyteller}
call() {
    path=$1
    shift
    curl -sS --fail-with-body -H "authorization: Bearer $EMBERBOX_API_KEY" \
        -H 'content-type: application/json' "$@" "$url$path"
    echo
}

echo '# models'
call /v1/models

echo '# a whole answer; usage.cost is what it cost, in credits'
call /v1/chat/completions -d '{"model": "'"$model"'", "max_tokens": 60, "messages":
    [{"role": "user", "content": "Tell me a story about a fox named Mia."}]}'

echo '# a streamed one (-N: do not buffer)'
call /v1/chat/completions -N -d '{"model": "'"$model"'", "max_tokens": 60, "stream": true,
    "stream_options": {"include_usage": true},
    "messages": [{"role": "user", "content": "Tell me a story about a rabbit."}]}'

echo '# embeddings (the beginning of them)'
call /v1/embeddings -d '{"model": "'"$model"'", "input": ["a fox", "a kite"]}' | cut -c 1-200

echo '# the balance'
call /v1/credits
